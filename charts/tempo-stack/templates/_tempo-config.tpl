{{/*
Tempo's configuration file, built as a map and printed once.
*/}}

{{/* Folder that the volume is mounted on; every path that Tempo writes is below it. */}}
{{- define "tempo-stack.tempo.dataPath" -}}/var/tempo{{- end }}

{{/* Write-ahead logs of 2.x and of one Tempo 3.0, of which neither reads the other's. Parameter: root context. */}}
{{- define "tempo-stack.tempo.log.v2" -}}{{ include "tempo-stack.tempo.dataPath" . }}/wal{{- end }}
{{- define "tempo-stack.tempo.log.v3" -}}{{ include "tempo-stack.tempo.dataPath" . }}/live-store/traces{{- end }}

{{/* The file. Parameter: root context. */}}
{{- define "tempo-stack.tempo.config" -}}
{{- $config := include "tempo-stack.tempo.config.common" . | fromYaml -}}
{{- $version := "2" -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=3.0.0") -}}{{- $version = "3" -}}{{- end -}}
{{- $parts := list "limits" "storage" "cache" "generator" "mirror" (printf "v%s" $version) -}}
{{- if include "tempo-stack.tempo.onKafka" . -}}
{{- $parts = list "kafkaLimits" "storage" "cache" "fleetGenerator" "v3" "fleet" "fleetV3" -}}
{{- else if include "tempo-stack.tempo.isFleet" . -}}
{{- $parts = list "fleetLimits" "storage" "cache" "fleetGenerator" "v2" "fleet" "fleetV2" -}}
{{- end -}}
{{- range append $parts "tenants" -}}
{{- $part := include (printf "tempo-stack.tempo.config.%s" .) $ | fromYaml -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" $part) -}}
{{- end -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (.Values.tempo.config | default dict)) -}}
{{- if include "tempo-stack.tempo.expands" . -}}
{{- toYaml $config | include "tempo-stack.tempo.config.expandable" | replace "<MIRROR>" (include "tempo-stack.tempo.mirrorFolder" .) -}}
{{- else -}}
{{- toYaml $config -}}
{{- end -}}
{{- end }}

{{/* What every version reads. */}}
{{- define "tempo-stack.tempo.config.common" -}}
{{- $tempo := .Values.tempo -}}
{{- $otlp := dict
  "endpoint" (include "tempo-stack.listener" (dict "address" $tempo.listenAddress "port" $tempo.service.ports.otlpGrpc))
  "max_recv_msg_size_mib" (include "tempo-stack.otelCollector.maxBatchMiB" . | int | add 1) -}}
{{- with include "tempo-stack.tempo.receiverTls" . -}}{{- $_ := set $otlp "tls" (fromYaml .) -}}{{- end -}}
{{- $overrides := dict "defaults" (dict "compaction" (dict "block_retention" (include "tempo-stack.duration.go" $tempo.retention.period))) -}}
{{- if include "tempo-stack.tempo.guardsDisk" . -}}
{{- $_ := set $overrides "per_tenant_override_config" (printf "%s/overrides.yaml" (include "tempo-stack.tempo.disk.path" .)) -}}
{{- $_ := set $overrides "per_tenant_override_period" "2s" -}}
{{- end -}}
{{- dict
  "server" (dict
    "http_listen_address" $tempo.listenAddress
    "http_listen_port" (int $tempo.service.ports.http)
    "grpc_listen_address" $tempo.listenAddress
    "grpc_listen_port" (int $tempo.internalPorts.grpc)
    "log_level" $tempo.logLevel)
  "memberlist" (dict "bind_addr" (list "127.0.0.1") "bind_port" (int $tempo.internalPorts.memberlist))
  "distributor" (dict
    "receivers" (dict "otlp" (dict "protocols" (dict "grpc" $otlp)))
    "retry_after_on_resource_exhausted" "5s")
  "overrides" $overrides
  "stream_over_http_enabled" true
  "usage_report" (dict "reporting_enabled" false)
  | toYaml -}}
{{- end }}

{{/*
What only 2.x reads: traces are cut to the write-ahead log after a second, and /ready does not wait 15 s.
On a stop the ingester goes on accepting for two seconds, in which the receivers close.
Without that it answers "shutting down" with the gRPC code Unknown, for which the Collector drops what it sent.
*/}}
{{- define "tempo-stack.tempo.config.v2" -}}
{{- dict
  "ingester" (dict
    "trace_idle_period" "1s"
    "flush_check_period" "1s"
    "lifecycler" (dict "min_ready_duration" "0s" "final_sleep" "2s"))
  "compactor" (dict "compaction" (dict "block_retention" (include "tempo-stack.duration.go" .Values.tempo.retention.period)))
  | toYaml -}}
{{- end }}

{{/*
What only 3.0 reads. The worker's retention deletes, the scheduler's chooses blocks for compaction: both are set.
Recent spans need not be hidden from search, because a single process has no Kafka to lag behind.
*/}}
{{- define "tempo-stack.tempo.config.v3" -}}
{{- $data := include "tempo-stack.tempo.dataPath" . -}}
{{- $compaction := dict "block_retention" (include "tempo-stack.duration.go" .Values.tempo.retention.period) -}}
{{- dict
  "live_store" (dict
    "max_trace_idle" "1s"
    "flush_check_period" "1s"
    "shutdown_marker_dir" (printf "%s/live-store/shutdown-marker" $data)
    "wal" (dict "path" (include "tempo-stack.tempo.log.v3" .)))
  "backend_scheduler" (dict
    "local_work_path" $data
    "provider" (dict "compaction" (dict "compaction" $compaction)))
  "backend_worker" (dict "compaction" $compaction)
  "query_frontend" (dict "query_end_cutoff" "0s")
  | toYaml -}}
{{- end }}
