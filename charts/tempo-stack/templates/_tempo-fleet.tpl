{{/*
What Tempo's configuration has beside the monolith's when its parts are processes of their own.
All pods read one file: it names what differs between them as <POD_IP> and <POD_NAME>, which Tempo reads from its environment.
*/}}

{{/* Host name by which the pods find each other, and port of their gossip. Parameter: root context. */}}
{{- define "tempo-stack.tempo.gossipServiceName" -}}
{{- include "tempo-stack.tempo.fullname" . }}-gossip
{{- end }}

{{/*
Limits of a fleet: each part's follow from the memory of the pods that keep them.
The rate is that of all distributors together. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.fleetLimits" -}}
{{- $components := .Values.tempo.components -}}
{{- $by := dict -}}
{{- range list "ingester" "querier" "queryFrontend" "compactor" -}}
{{- $context := dict -}}
{{- include "tempo-stack.tempo.component.context" (dict "ctx" $ "key" . "into" $context) -}}
{{- $_ := set $by . (include "tempo-stack.tempo.config.limits" $context | fromYaml) -}}
{{- end -}}
{{- $config := pick $by.ingester "ingester" "overrides" "server" "storage" -}}
{{- $rows := $config.storage.trace.block -}}
{{- $_ := set $rows "parquet_row_group_size_bytes" (min (int64 $rows.parquet_row_group_size_bytes) (int64 $by.compactor.storage.trace.block.parquet_row_group_size_bytes)) -}}
{{- if kindIs "invalid" .Values.tempo.limits.ingestBytesPerSecond -}}
{{- $ingestion := $config.overrides.defaults.ingestion -}}
{{- $rate := div (mul (int64 $ingestion.rate_limit_bytes) (int $components.ingester.replicas)) (int $components.ingester.replicationFactor) -}}
{{- $_ := set $ingestion "rate_limit_bytes" $rate -}}
{{- $_ := set $ingestion "burst_size_bytes" (max $rate (int64 $ingestion.burst_size_bytes)) -}}
{{- end -}}
{{- $_ := set $config.overrides.defaults.ingestion "rate_strategy" "global" -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (include "tempo-stack.tempo.config.fleetQueries" (dict "ctx" . "by" $by) | fromYaml)) -}}
{{- toYaml $config -}}
{{- end }}

{{/* Limits of queries. Parameters: ctx (root context), by (limits of querier and queryFrontend, by their keys). */}}
{{- define "tempo-stack.tempo.config.fleetQueries" -}}
{{- /* One query may keep all queriers busy. */ -}}
{{- $jobs := mul (int64 .by.querier.querier.max_concurrent_queries) (include "tempo-stack.maxReplicas" .ctx.Values.tempo.components.querier | int) -}}
{{- $frontend := .by.queryFrontend.query_frontend -}}
{{- $_ := set $frontend.search "concurrent_jobs" $jobs -}}
{{- if $frontend.metrics -}}{{- $_ := set $frontend.metrics "concurrent_jobs" $jobs -}}{{- end -}}
{{- $_ := set $frontend "max_outstanding_per_tenant" (max (mul 10 $jobs) (int64 $frontend.max_outstanding_per_tenant)) -}}
{{- dict "querier" .by.querier.querier "query_frontend" $frontend | toYaml -}}
{{- end }}

{{/* The generator's part of the file, whose limits follow from its own memory. Parameter: root context. */}}
{{- define "tempo-stack.tempo.config.fleetGenerator" -}}
{{- $context := dict -}}
{{- include "tempo-stack.tempo.component.context" (dict "ctx" . "key" "metricsGenerator" "into" $context) -}}
{{- include "tempo-stack.tempo.config.generator" $context -}}
{{- end }}

{{/* How a pod joins a ring. Parameter: root context. */}}
{{- define "tempo-stack.tempo.fleetRing" -}}
{{- dict
  "kvstore" (dict "store" "memberlist")
  "instance_id" "<POD_NAME>"
  "instance_addr" "<POD_IP>"
  "enable_inet6" (contains ":" .Values.tempo.listenAddress) | toYaml -}}
{{- end }}

{{/*
Gossip, and the addresses of what every fleet has.
What queries a pod that stops has five seconds to see that it isn't ready any more. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.fleet" -}}
{{- $tempo := .Values.tempo -}}
{{- $gossip := include "tempo-stack.host" (dict "ctx" . "service" (include "tempo-stack.tempo.gossipServiceName" .)) -}}
{{- $frontend := get (include "tempo-stack.tempo.components" . | fromYaml) "query-frontend" -}}
{{- dict
  "shutdown_delay" "5s"
  "memberlist" (dict
    "bind_addr" (list $tempo.listenAddress)
    "advertise_addr" "<POD_IP>"
    "join_members" (list (printf "%s:%d" $gossip (int $tempo.internalPorts.memberlist)))
    "abort_if_cluster_join_fails" false
    "rejoin_interval" "30s")
  "distributor" (dict "ring" (include "tempo-stack.tempo.fleetRing" . | fromYaml))
  "querier" (dict "frontend_worker" (dict "frontend_address"
    (printf "%s:%d" (include "tempo-stack.host" (dict "ctx" . "service" $frontend.headless)) (int $tempo.internalPorts.grpc)))) | toYaml -}}
{{- end }}

{{/*
Rings of a fleet of Tempo 2.x.
An ingester that stops writes what it holds to the bucket and leaves the ring, so it may be gone for good.
The others have to hear of it before the next one stops, and before it accepts nothing more: where two of three refuse
a span, one of them because it stops, Tempo answers with the gRPC code Unknown, for which the Collector drops it.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.fleetV2" -}}
{{- $ring := include "tempo-stack.tempo.fleetRing" . | fromYaml -}}
{{- $ingester := .Values.tempo.components.ingester -}}
{{- $config := dict
  "compactor" (dict "ring" $ring)
  "ingester" (dict
    "flush_all_on_shutdown" true
    "lifecycler" (dict
      "id" "<POD_NAME>"
      "address" "<POD_IP>"
      "enable_inet6" $ring.enable_inet6
      "min_ready_duration" "10s"
      "final_sleep" "5s"
      "ring" (dict
        "kvstore" $ring.kvstore
        "replication_factor" (int $ingester.replicationFactor)
        "zone_awareness_enabled" (not (empty $ingester.zones))))) -}}
{{- if include "tempo-stack.tempo.processors" . | fromYamlArray -}}
{{- $_ := set $config "metrics_generator" (dict "ring" $ring) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* "true" where Tempo expands its file, because the pods that read it differ. Parameter: root context. */}}
{{- define "tempo-stack.tempo.expands" -}}
{{- if or (include "tempo-stack.tempo.isFleet" .) (include "tempo-stack.tempo.mirrorsInBucket" .) -}}true{{- end -}}
{{- end }}

{{/*
The file as Tempo expands it: what stands for the pod becomes a reference, and what a user wrote with a dollar sign or
a backslash stays as it is. Parameter: the file.
*/}}
{{- define "tempo-stack.tempo.config.expandable" -}}
{{- . | replace "\\" "\\\\" | replace "$" "$$" | replace "<POD_IP>" "${POD_IP}" | replace "<POD_NAME>" "${POD_NAME}" -}}
{{- end }}

{{/* Variables that the file of a fleet refers to, as a map. Parameter: root context. */}}
{{- define "tempo-stack.tempo.podEnv" -}}
POD_IP: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}
POD_NAME: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}
{{- if include "tempo-stack.tempo.onKafka" . }}
{{ include "tempo-stack.tempo.kafkaEnv" . }}
{{- end }}
{{- end }}

{{/*
Affinity of a component's pods where the values give none: they prefer different hosts and, without zones of their own,
different zones. Parameters: ctx, component (row).
*/}}
{{- define "tempo-stack.tempo.affinity" -}}
{{- $selector := dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" .ctx "component" .component.label) | fromYaml) -}}
{{- $terms := list -}}
{{- range $weight, $key := dict "100" "kubernetes.io/hostname" "50" "topology.kubernetes.io/zone" -}}
{{- if not (and $.component.zone (eq $weight "50")) -}}
{{- $terms = append $terms (dict "weight" (int $weight) "podAffinityTerm" (dict "topologyKey" $key "labelSelector" $selector)) -}}
{{- end -}}
{{- end -}}
{{- dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $terms) | toYaml -}}
{{- end }}
