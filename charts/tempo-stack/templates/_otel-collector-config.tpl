{{/*
The Collector's configuration file, built as a map and printed once.
*/}}

{{/* Folder that the queue's volume is mounted on. */}}
{{- define "tempo-stack.otelCollector.queuePath" -}}/var/lib/otelcol{{- end }}

{{/*
Limit of the emptyDir that holds the queue; empty when it is on a claim or in memory.
Four times each queue: the file takes up to 3.4 times the bytes of the spans when requests are tiny (measured).
*/}}
{{- define "tempo-stack.otelCollector.queueVolumeBytes" -}}
{{- with .Values.otelCollector.queue -}}
{{- if and (eq .type "file") (not .persistence.enabled) -}}
{{- mul 4 (include "tempo-stack.otelCollector.exporterIds" $ | fromYamlArray | len) (int64 (include "tempo-stack.quantity.bytes" .size)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Largest batch on the way out, in MiB: more than any request that comes in.
A single span that is larger than a batch would be dropped together with the spans behind it.
*/}}
{{- define "tempo-stack.otelCollector.maxBatchMiB" -}}
{{- add (int .Values.otelCollector.receivers.maxRequestMiB) 1 -}}
{{- end }}

{{/*
Id of the exporter, which is also the name of the queue's file ("exporter_otlp__traces"), so it never changes:
under another name the spans that wait would stay behind unread.
0.144 renamed the type to otlp_grpc and goes on to take the old one, with a warning at the start.
*/}}
{{- define "tempo-stack.otelCollector.exporterId" -}}otlp{{- end }}

{{/* Where spans are sent, as text; mirrors have an address each. */}}
{{- define "tempo-stack.otelCollector.exporterEndpoint" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
both pods of {{ include "tempo-stack.tempo.fullname" . -}}
{{- else -}}
{{- default (include "tempo-stack.tempo.otlpEndpoint" .) .Values.otelCollector.exporter.endpoint -}}
{{- end -}}
{{- end }}

{{/*
"true" when batches are made from the queue, which can then refuse; before 0.130 the batch processor makes them, in memory and in front of the queue.
0.130 is the first whose queue on disk counts bytes and may batch (core #13340), and whose batch has a sizer (core #13362).
*/}}
{{- define "tempo-stack.otelCollector.batchesInQueue" -}}
{{- include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" ">=0.130.0") -}}
{{- end }}

{{/*
GOGC: garbage is collected when the heap is three times what is in use, which takes a sixth of the CPU away from a span (`cargo xtask bench --tuning`); empty where Go's own 100 stays.
0.121 is the first whose memory limiter can be told to collect garbage each second before it refuses (core #12450): by its own ten seconds it would refuse spans because of garbage.
*/}}
{{- define "tempo-stack.otelCollector.gogc" -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" ">=0.121.0") -}}200{{- end -}}
{{- end }}

{{/*
The file. Parameter: root context.
The chart's pipeline names what is left of the chart's components after the user's configuration was merged,
so that a null takes a component out of the pipeline too. A `memory_limiter` or `batch` that only the user's has is put in its place.
*/}}
{{- define "tempo-stack.otelCollector.config" -}}
{{- $user := .Values.otelCollector.config | default dict -}}
{{- $config := dict
  "receivers" (include "tempo-stack.otelCollector.config.receivers" . | fromYaml)
  "processors" (include "tempo-stack.otelCollector.config.processors" . | fromYaml)
  "exporters" (include "tempo-stack.otelCollector.config.exporters" . | fromYaml)
  "extensions" (include "tempo-stack.otelCollector.config.extensions" . | fromYaml) -}}
{{- $processors := list -}}
{{- range include "tempo-stack.otelCollector.processorOrder" . | fromYamlArray -}}
{{- if or (hasKey $config.processors .) (has . (list "memory_limiter" "batch")) -}}{{- $processors = append $processors . -}}{{- end -}}
{{- end -}}
{{- $own := dict
  "receivers" (keys $config.receivers | sortAlpha)
  "processors" $processors
  "exporters" (keys $config.exporters | sortAlpha)
  "extensions" (keys $config.extensions | sortAlpha) -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (omit $user "service")) -}}
{{- $lists := dict -}}
{{- range $kind, $names := $own -}}
{{- $left := list -}}
{{- range $names -}}{{- if hasKey (get $config $kind | default dict) . -}}{{- $left = append $left . -}}{{- end -}}{{- end -}}
{{- $_ := set $lists $kind $left -}}
{{- end -}}
{{- $service := dict
  "extensions" $lists.extensions
  "telemetry" (include "tempo-stack.otelCollector.config.telemetry" . | fromYaml)
  "pipelines" (include "tempo-stack.tenants.pipelines" (dict "ctx" . "lists" $lists "user" $user) | fromYaml) -}}
{{- include "tempo-stack.config.merge" (dict "into" $service "from" ($user.service | default dict)) -}}
{{- $_ := set $config "service" $service -}}
{{- toYaml $config -}}
{{- end }}

{{/* Where each receiver of the values stands in the file. */}}
{{- define "tempo-stack.otelCollector.receiverList" -}}
- {key: otlpGrpc, receiver: otlp, protocol: grpc, path: protocols.grpc}
- {key: otlpHttp, receiver: otlp, protocol: http, path: protocols.http}
- {key: jaegerGrpc, receiver: jaeger, protocol: grpc, path: protocols.grpc}
- {key: jaegerThriftHttp, receiver: jaeger, protocol: thrift_http, path: protocols.thrift_http}
- {key: jaegerThriftCompact, receiver: jaeger, protocol: thrift_compact, path: protocols.thrift_compact}
- {key: jaegerThriftBinary, receiver: jaeger, protocol: thrift_binary, path: protocols.thrift_binary}
- {key: zipkin, receiver: zipkin, protocol: http, path: ""}
{{- with include "tempo-stack.tenants.receiverList" . | fromYamlArray }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a receiver's block stands in the values. Parameter: a row of the list above. */}}
{{- define "tempo-stack.otelCollector.receiverKey" -}}otelCollector.config.receivers.{{ .receiver }}{{ with .path }}.{{ . }}{{ end }}{{- end }}

{{/* The block of a receiver of the values in a configuration, as a map. Parameters: config, row (of the list above). */}}
{{- define "tempo-stack.otelCollector.receiverBlock" -}}
{{- $block := get (.config.receivers | default dict) .row.receiver | default dict -}}
{{- range splitList "." .row.path | compact -}}{{- $block = get ($block | default dict) . | default dict -}}{{- end -}}
{{- toYaml $block -}}
{{- end }}

{{/* Receivers: one protocol for each that is enabled, with a limit on the size of a request, and the one that asks Kafka. */}}
{{- define "tempo-stack.otelCollector.config.receivers" -}}
{{- $collector := .Values.otelCollector -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- $door := include "tempo-stack.otelCollector.door" . | fromYaml -}}
{{- $receivers := dict -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- if hasKey $ports .key -}}
{{- $protocol := dict "endpoint" (include "tempo-stack.listener" (dict "address" $collector.listenAddress "port" (get $ports .key).port)) -}}
{{- if eq .protocol "grpc" -}}
{{- $_ := set $protocol "max_recv_msg_size_mib" (int $collector.receivers.maxRequestMiB) -}}
{{- with $collector.receivers.maxConnectionAge -}}
{{- $_ := set $protocol "keepalive" (dict "server_parameters" (dict "max_connection_age" . "max_connection_age_grace" "10s")) -}}
{{- end -}}
{{- else if has .protocol (list "http" "thrift_http") -}}
{{- $_ := set $protocol "max_request_body_size" (mul (int $collector.receivers.maxRequestMiB) 1048576) -}}
{{- end -}}
{{- if .tenant -}}
{{- $protocol = merge $protocol (include "tempo-stack.otelCollector.doorOf" (dict "ctx" $ "authenticator" .authenticator) | fromYaml) -}}
{{- else if eq (get $ports .key).protocol "TCP" -}}{{- $protocol = merge $protocol (deepCopy $door) -}}{{- end -}}
{{- $block := ternary (dict "protocols" (dict .protocol $protocol)) $protocol (ne .path "") -}}
{{- include "tempo-stack.config.merge" (dict "into" $receivers "from" (dict .receiver $block)) -}}
{{- end -}}
{{- end -}}
{{- if $collector.receivers.kafka.enabled -}}{{- $_ := set $receivers "kafka" (include "tempo-stack.otelCollector.kafka" . | fromYaml) -}}{{- end -}}
{{- toYaml $receivers -}}
{{- end }}

{{/* Processors. */}}
{{- define "tempo-stack.otelCollector.config.processors" -}}
{{- $collector := .Values.otelCollector -}}
{{- $processors := dict "filter/zero-ids" (dict
  "error_mode" "ignore"
  "traces" (dict "span" (list
    "trace_id == TraceID(0x00000000000000000000000000000000)"
    "span_id == SpanID(0x0000000000000000)"))) -}}
{{- if $collector.memoryLimiter.enabled -}}
{{- $limit := include "tempo-stack.memoryLimit" $collector.resources -}}
{{- $_ := set $processors "memory_limiter" (dict
  "check_interval" "1s"
  "limit_mib" (div (include "tempo-stack.percent" (dict "bytes" $limit "percent" $collector.memoryLimiter.limitPercent) | int64) 1048576)
  "spike_limit_mib" (div (include "tempo-stack.percent" (dict "bytes" $limit "percent" $collector.memoryLimiter.spikePercent) | int64) 1048576)) -}}
{{- if include "tempo-stack.otelCollector.gogc" . -}}
{{- $_ := set $processors.memory_limiter "min_gc_interval_when_soft_limited" "1s" -}}
{{- end -}}
{{- end -}}
{{- if not (include "tempo-stack.otelCollector.batchesInQueue" .) -}}
{{- $_ := set $processors "batch" (dict "timeout" "200ms" "send_batch_size" 512 "send_batch_max_size" 1024) -}}
{{- end -}}
{{- toYaml (merge $processors (include "tempo-stack.otelCollector.presets" . | fromYaml)) -}}
{{- end }}

{{/*
The exporters: one, or one for each mirror and tenant, over a queue of its own. What the user sets for the first holds for all.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.config.exporters" -}}
{{- $exporters := dict -}}
{{- $first := include "tempo-stack.otelCollector.exporterId" . -}}
{{- range $way := include "tempo-stack.tenants.ways" . | fromYamlArray -}}
{{- range $ordinal, $id := $way.exporters -}}
{{- $exporter := include "tempo-stack.otelCollector.config.exporter" $ | fromYaml -}}
{{- if include "tempo-stack.tempo.mirrored" $ -}}
{{- $host := include "tempo-stack.tempo.mirrorHost" (dict "ctx" $ "ordinal" $ordinal) -}}
{{- $_ := set $exporter "endpoint" (printf "%s:%d" $host (int $.Values.tempo.service.ports.otlpGrpc)) -}}
{{- $_ := set $exporter.sending_queue "num_consumers" (include "tempo-stack.otelCollector.mirrorConsumers" $ | int) -}}
{{- /* A mirror that catches up is busy, answers six seconds late, and a batch that times out is sent to it again. */ -}}
{{- $_ := set $exporter "timeout" "20s" -}}
{{- end -}}
{{- if ne $id $first -}}
{{- include "tempo-stack.config.merge" (dict "into" $exporter "from" (dig "exporters" $first dict ($.Values.otelCollector.config | default dict) | default dict)) -}}
{{- end -}}
{{- with $way.tenant -}}
{{- include "tempo-stack.config.merge" (dict "into" $exporter "from" (dict "headers" (dict "X-Scope-OrgID" .))) -}}
{{- end -}}
{{- $_ := set $exporters $id $exporter -}}
{{- end -}}
{{- end -}}
{{- toYaml $exporters -}}
{{- end }}

{{/* An exporter: it never gives up on a batch, and waits in the queue until the server answers. */}}
{{- define "tempo-stack.otelCollector.config.exporter" -}}
{{- $collector := .Values.otelCollector -}}
{{- $queue := dict "enabled" true -}}
{{- if eq $collector.queue.type "file" -}}{{- $_ := set $queue "storage" "file_storage" -}}{{- end -}}
{{- $bytes := include "tempo-stack.quantity.bytes" $collector.queue.size -}}
{{- if include "tempo-stack.otelCollector.batchesInQueue" . -}}
{{- $_ := merge $queue (dict "sizer" "bytes" "queue_size" (int64 $bytes)) -}}
{{- $_ := set $queue "batch" (dict
  "sizer" "bytes"
  "flush_timeout" "200ms"
  "min_size" 1048576
  "max_size" (mul (include "tempo-stack.otelCollector.maxBatchMiB" . | int) 1048576)) -}}
{{- else -}}
{{- /* Older queues count batches: one for each MiB. */ -}}
{{- $_ := set $queue "queue_size" (max 1 (div (int64 $bytes) 1048576)) -}}
{{- end -}}
{{- dict
  "endpoint" (include "tempo-stack.otelCollector.exporterEndpoint" .)
  "compression" $collector.exporter.compression
  "tls" (include "tempo-stack.otelCollector.exporterTls" . | fromYaml)
  "timeout" "10s"
  "retry_on_failure" (dict "enabled" true "initial_interval" "1s" "max_interval" "5s" "max_elapsed_time" "0s")
  "sending_queue" $queue
  | toYaml -}}
{{- end }}

{{/* Extensions: the health check that the probes ask, the queue's store, and what asks who sends. */}}
{{- define "tempo-stack.otelCollector.config.extensions" -}}
{{- $collector := .Values.otelCollector -}}
{{- $extensions := dict "health_check" (dict "endpoint" (include "tempo-stack.listener" (dict "address" $collector.listenAddress "port" $collector.internalPorts.healthCheck))) -}}
{{- if eq $collector.queue.type "file" -}}
{{- $store := dict "directory" (include "tempo-stack.otelCollector.queuePath" .) -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" ">=0.123.0") -}}
{{- $_ := set $store "create_directory" true -}}
{{- end -}}
{{- $_ := set $extensions "file_storage" $store -}}
{{- end -}}
{{- with include "tempo-stack.otelCollector.auth.extensionId" . -}}
{{- $_ := set $extensions . (include "tempo-stack.otelCollector.auth.extension" $ | fromYaml) -}}
{{- end -}}
{{- toYaml (merge $extensions (include "tempo-stack.tenants.extensions" . | fromYaml)) -}}
{{- end }}

{{/* The Collector's own logs and metrics; metrics keep the names without suffixes that 0.89 had. */}}
{{- define "tempo-stack.otelCollector.config.telemetry" -}}
{{- $collector := .Values.otelCollector -}}
{{- $port := int $collector.service.ports.metrics -}}
{{- $metrics := dict "address" (include "tempo-stack.listener" (dict "address" $collector.listenAddress "port" $port)) -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" ">=0.123.0") -}}
{{- $prometheus := dict
  "host" $collector.listenAddress
  "port" $port
  "without_scope_info" true
  "without_type_suffix" true
  "without_units" true -}}
{{- $metrics = dict "readers" (list (dict "pull" (dict "exporter" (dict "prometheus" $prometheus)))) -}}
{{- end -}}
{{- dict "logs" (dict "level" $collector.logLevel) "metrics" $metrics | toYaml -}}
{{- end }}
