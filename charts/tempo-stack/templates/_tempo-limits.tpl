{{/*
What Tempo takes in and does at the same time, from its memory limit: docs/growing.md has the table and the measurements, under "Sizing Tempo".
A value that is set wins.
*/}}

{{/* Memory in bytes that the limits are made for; without a memory limit that of the default. Parameter: root context. */}}
{{- define "tempo-stack.tempo.memoryBytes" -}}
{{- include "tempo-stack.memoryLimit" .Values.tempo.resources | default "2147483648" -}}
{{- end }}

{{/* Bytes of the largest batch that the Collector sends. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.maxBatchBytes" -}}
{{- mul (include "tempo-stack.otelCollector.maxBatchMiB" . | int) 1048576 -}}
{{- end }}

{{/*
The limits by the names of the values, all of them filled in, as YAML. Parameter: root context.
The rate is what refuses; live traces and the bytes of a trace drop what was acknowledged, so both leave room above what the rate lets in.
*/}}
{{- define "tempo-stack.tempo.limits" -}}
{{- $memory := include "tempo-stack.tempo.memoryBytes" . | int64 -}}
{{- $mebibytes := div $memory 1048576 -}}
{{- $limits := .Values.tempo.limits -}}
{{- $query := .Values.tempo.query -}}
{{- $rate := div $memory 128 -}}
{{- if not (kindIs "invalid" $limits.ingestBytesPerSecond) -}}{{- $rate = int64 $limits.ingestBytesPerSecond -}}{{- end -}}
{{- $jobs := div $mebibytes 256 | max 2 | min 20 -}}
{{- if not (kindIs "invalid" $query.maxConcurrentJobs) -}}{{- $jobs = int64 $query.maxConcurrentJobs -}}{{- end -}}
{{- $derived := dict
  "ingestBytesPerSecond" $rate
  "ingestBurstBytes" (max $rate (mul 2 (include "tempo-stack.otelCollector.maxBatchBytes" . | int64)))
  "maxLiveTraces" (div $memory 2048)
  "maxBytesPerTrace" (min 15000000 (div $memory 128))
  "maxConcurrentJobs" $jobs
  "maxWaitingJobs" (mul 10 $jobs)
  "maxSearchResults" (min 262144 $mebibytes) -}}
{{- range $key, $value := merge dict $limits (omit $query "timeout") -}}
{{- if not (kindIs "invalid" $value) -}}{{- $_ := set $derived $key (int64 $value) -}}{{- end -}}
{{- end -}}
{{- toYaml $derived -}}
{{- end }}

{{/*
Their keys in Tempo's file, and what else follows from the memory: how much of it a block takes while it is written, which the intake and queries share with it.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.limits" -}}
{{- $memory := include "tempo-stack.tempo.memoryBytes" . | int64 -}}
{{- $limits := include "tempo-stack.tempo.limits" . | fromYaml -}}
{{- /* One query has as many jobs under way as may run, or it would fill the queue alone. */ -}}
{{- $jobs := int64 $limits.maxConcurrentJobs -}}
{{- $frontend := dict
  "max_outstanding_per_tenant" (int64 $limits.maxWaitingJobs)
  "max_batch_size" 1
  "search" (dict "concurrent_jobs" $jobs "max_result_limit" (int64 $limits.maxSearchResults))
  "trace_by_id" (dict "query_shards" 2) -}}
{{- $config := dict
  "querier" (dict "max_concurrent_queries" $jobs)
  "query_frontend" $frontend
  "storage" (dict "trace" (dict "block" (dict "parquet_row_group_size_bytes" (div $memory 25 | min 100000000))))
  "overrides" (dict "defaults" (dict
    "ingestion" (dict
      "rate_limit_bytes" (int64 $limits.ingestBytesPerSecond)
      "burst_size_bytes" (int64 $limits.ingestBurstBytes)
      "max_traces_per_user" (int64 $limits.maxLiveTraces))
    "global" (dict "max_bytes_per_trace" (int64 $limits.maxBytesPerTrace)))) -}}
{{- /* TraceQL metrics, and an end for queries, came between 2.3 and 2.9. */ -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0") -}}
{{- $timeout := .Values.tempo.query.timeout -}}
{{- $_ := set $frontend "metrics" (dict "concurrent_jobs" $jobs) -}}
{{- $_ := set $frontend "api_timeout" $timeout -}}
{{- /* The server must not hang up before the query is told that it took too long. */ -}}
{{- $seconds := include "tempo-stack.duration.seconds" $timeout | int -}}
{{- $_ := set $config "server" (dict "http_server_write_timeout" (printf "%ds" (add $seconds 5))) -}}
{{- end -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=3.0.0") -}}
{{- /* Above it an answer is held back; in memory the bytes of a trace are five to six times as many. */ -}}
{{- $_ := set $config "live_store" (dict
  "max_live_traces_bytes" (div $memory 32 | min 250000000)
  "query_block_concurrency" (min 10 $jobs)
  "complete_block_concurrency" (div $memory 1073741824 | max 1 | min 2)) -}}
{{- else -}}
{{- $_ := set $config "ingester" (dict
  "max_block_bytes" (div $memory 10 | min 524288000)
  "concurrent_flushes" (div $memory 1073741824 | max 1 | min 4)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}
