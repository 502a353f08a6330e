{{/*
A fleet of Tempo 3.0: distributors write to Kafka, live-stores answer for what is recent, block-builders make blocks of it.
*/}}

{{/* "true" when the parts of Tempo share Kafka. Parameter: root context. */}}
{{- define "tempo-stack.tempo.onKafka" -}}
{{- if and (include "tempo-stack.tempo.isFleet" .) (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=3.0.0")) -}}true{{- end -}}
{{- end }}

{{/*
The zones of the live-stores, as a YAML list. Without names there are two sets of them all the same: with one,
every search fails while any live-store is away. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.liveStore.zones" -}}
{{- .Values.tempo.components.liveStore.zones | default (list "" "") | toYaml -}}
{{- end }}

{{/*
The rows of a fleet on Kafka. A partition has one live-store in each zone and one block-builder, by the number of
their pods. The live-stores of the first zone keep the name, the labels and so the claims of one Tempo and of
ingesters: where the mode or the version changes, they find a log that a predecessor left, and don't start.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.components.kafka" -}}
{{- $ctx := . -}}
{{- $tempo := .Values.tempo -}}
{{- $partitions := int $tempo.kafka.partitions -}}
{{- $rows := dict -}}
{{- $parts := dict
  "distributor" (dict "key" "distributor" "ports" (list "httpMetrics" "otlpGrpc" "gossip") "entry" "true" "ring" "distributor" "gossip" "true")
  "querier" (dict "key" "querier" "ports" (list "httpMetrics" "gossip") "gossip" "true")
  "query-frontend" (dict "key" "queryFrontend" "ports" (list "http" "grpc" "gossip") "entry" "true" "gossip" "true")
  "block-builder" (dict "key" "blockBuilder" "ports" (list "httpMetrics" "gossip") "gossip" "true" "kind" "StatefulSet" "size" "10Gi"
    "replicas" (div $partitions (int $tempo.components.blockBuilder.partitionsPerInstance) | int))
  "backend-scheduler" (dict "key" "backendScheduler" "ports" (list "httpMetrics" "grpc") "kind" "StatefulSet" "replicas" 1)
  "backend-worker" (dict "key" "backendWorker" "ports" (list "httpMetrics" "gossip") "ring" "backend-worker" "gossip" "true" "size" "10Gi") -}}
{{- if include "tempo-stack.tempo.processors" . | fromYamlArray -}}
{{- $_ := set $parts "metrics-generator" (dict "key" "metricsGenerator" "ports" (list "httpMetrics" "grpc" "gossip") "ring" "metrics-generator" "gossip" "true" "size" "2Gi") -}}
{{- end -}}
{{- range $target, $of := $parts -}}
{{- $_ := set $rows $target (include "tempo-stack.tempo.components.part" (dict "ctx" $ctx "target" $target "of" $of) | fromYaml) -}}
{{- end -}}
{{- $values := $tempo.components.liveStore -}}
{{- $volume := ternary "claims" "emptyDir" $tempo.persistence.enabled -}}
{{- range $n, $zone := include "tempo-stack.tempo.liveStore.zones" . | fromYamlArray -}}
{{- $name := printf "live-store-zone-%d" (add1 $n) -}}
{{- $row := include "tempo-stack.tempo.components.part" (dict "ctx" $ctx "target" "live-store" "name" $name "of" (dict
  "key" "liveStore"
  "args" (list (printf "-live-store.instance-availability-zone=%s" ($zone | default (printf "zone-%d" (add1 $n)))))
  "stopsAfter" (mul $n (include "tempo-stack.tempo.zonesApart" $ctx | int) | int)
  "ports" (list "httpMetrics" "grpc" "gossip")
  "ring" "live-store" "gossip" "true" "kind" "StatefulSet" "replicas" $partitions
  "volume" $volume "claims" (ternary $partitions 0 (eq $volume "claims")) "size" $tempo.persistence.size
  "budget" (ternary "1" "" (eq $n 0)) "budgetBy" "ring" "zone" $zone)) | fromYaml -}}
{{- if eq $n 0 -}}
{{- $fullname := include "tempo-stack.tempo.fullname" $ctx -}}
{{- range $key, $value := dict "label" "tempo" "service" "tempo-headless" "fullname" $fullname "headless" (include "tempo-stack.tempo.headlessServiceName" $ctx) -}}
{{- $_ := set $row $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $rows $name $row -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* Limits of a fleet on Kafka, of which each part's follow from its own memory. Parameter: root context. */}}
{{- define "tempo-stack.tempo.config.kafkaLimits" -}}
{{- $components := .Values.tempo.components -}}
{{- $by := dict -}}
{{- range list "liveStore" "blockBuilder" "querier" "queryFrontend" "backendWorker" -}}
{{- $context := dict -}}
{{- include "tempo-stack.tempo.component.context" (dict "ctx" $ "key" . "into" $context) -}}
{{- $_ := set $by . (include "tempo-stack.tempo.config.limits" $context | fromYaml) -}}
{{- end -}}
{{- $config := pick $by.liveStore "live_store" "overrides" "server" "storage" -}}
{{- range $part := list $by.blockBuilder $by.backendWorker -}}
{{- $rows := $config.storage.trace.block -}}
{{- $_ := set $rows "parquet_row_group_size_bytes" (min (int64 $rows.parquet_row_group_size_bytes) (int64 $part.storage.trace.block.parquet_row_group_size_bytes)) -}}
{{- end -}}
{{- $ingestion := $config.overrides.defaults.ingestion -}}
{{- if kindIs "invalid" .Values.tempo.limits.ingestBytesPerSecond -}}
{{- $rate := mul (int64 $ingestion.rate_limit_bytes) (int .Values.tempo.kafka.partitions) -}}
{{- $_ := set $ingestion "rate_limit_bytes" $rate -}}
{{- $_ := set $ingestion "burst_size_bytes" (max $rate (int64 $ingestion.burst_size_bytes)) -}}
{{- end -}}
{{- $_ := set $ingestion "rate_strategy" "global" -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (include "tempo-stack.tempo.config.fleetQueries" (dict "ctx" . "by" $by) | fromYaml)) -}}
{{- toYaml $config -}}
{{- end }}

{{/*
Kafka, rings and addresses of a fleet of Tempo 3.0.
What a live-store keeps is in Kafka and never written to the store, so it isn't the log that one Tempo reads.
A live-store that starts is not asked before it has read nearly all of its partition; where the topic is missing, it waits for the longest time.
Searches leave the last five seconds out: a live-store refuses those for which it might not have read everything.
A worker takes jobs from the scheduler and needs no stable ring before it does.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.fleetV3" -}}
{{- $tempo := .Values.tempo -}}
{{- $data := include "tempo-stack.tempo.dataPath" . -}}
{{- $kafka := dict
  "address" $tempo.kafka.address
  "topic" $tempo.kafka.topic
  "auto_create_topic_enabled" $tempo.kafka.createTopic
  "auto_create_topic_default_partitions" (int $tempo.kafka.partitions)
  "producer_max_record_size_bytes" (int $tempo.kafka.maxRecordBytes)
  "disable_kafka_telemetry" true -}}
{{- if $tempo.kafka.sasl.existingSecret -}}
{{- $_ := set $kafka "sasl_username" $tempo.kafka.sasl.username -}}
{{- end -}}
{{- $ring := include "tempo-stack.tempo.fleetRing" . | fromYaml -}}
{{- $scheduler := get (include "tempo-stack.tempo.components" . | fromYaml) "backend-scheduler" -}}
{{- $config := dict
  "ingest" (dict "kafka" $kafka)
  "query_frontend" (dict "query_end_cutoff" "5s")
  "live_store" (dict
    "ring" $ring
    "wal" (dict "path" (printf "%s/live-store/kafka" $data))
    "readiness_target_lag" "5s"
    "readiness_max_wait" "1m")
  "block_builder" (dict
    "instance_id" "<POD_NAME>"
    "partitions_per_instance" (int $tempo.components.blockBuilder.partitionsPerInstance)
    "consume_cycle_duration" (include "tempo-stack.duration.go" $tempo.components.blockBuilder.cycle)
    "wal" (dict "path" (printf "%s/block-builder" $data)))
  "backend_worker" (dict
    "backend_scheduler_addr" (printf "%s:%d" (include "tempo-stack.host" (dict "ctx" . "service" $scheduler.headless)) (int $tempo.internalPorts.grpc))
    "ring" (merge (dict "wait_stability_min_duration" "0s") $ring)) -}}
{{- if include "tempo-stack.tempo.processors" . | fromYamlArray -}}
{{- $_ := set $config "metrics_generator" (dict "instance_id" "<POD_NAME>" "ring" $ring "leave_consumer_group_on_shutdown" true) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/*
Variables that carry the password of Kafka into the container, as a map. Tempo gets it as an argument: its file would
have to be YAML with any password in it. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.kafkaEnv" -}}
{{- with .Values.tempo.kafka.sasl -}}
{{- if .existingSecret -}}
KAFKA_PASSWORD: {valueFrom: {secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .passwordKey | quote }}}}}
{{- end -}}
{{- end -}}
{{- end }}
