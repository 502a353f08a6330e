{{/*
Tempo's metrics-generator: metrics that go to Prometheus, and the blocks from which Tempo 2.x answers TraceQL metrics.
*/}}

{{/* "true" when metrics go to Prometheus. Parameter: root context. */}}
{{- define "tempo-stack.tempo.generatesMetrics" -}}
{{- if and .Values.tempo.enabled .Values.tempo.metricsGenerator.enabled -}}true{{- end -}}
{{- end }}

{{/* Which spans TraceQL metrics cover; YAML reads a bare off as false. Parameter: root context. */}}
{{- define "tempo-stack.tempo.traceqlRange" -}}
{{- $range := toString .Values.tempo.traceqlMetrics.range -}}
{{- ternary "off" $range (eq $range "false") -}}
{{- end }}

{{/* "recent" or "all" when the generator keeps blocks of its own; 2.3 has no TraceQL metrics, 3.0 needs none. Parameter: root context. */}}
{{- define "tempo-stack.tempo.generatorBlocks" -}}
{{- $range := include "tempo-stack.tempo.traceqlRange" . -}}
{{- if and (ne $range "off") (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0 <3.0.0")) -}}{{- $range -}}{{- end -}}
{{- end }}

{{/* Folder of the Secrets' files. */}}
{{- define "tempo-stack.tempo.remoteWrite.path" -}}/etc/remote-write{{- end }}

{{/* Processors of the generator, as a YAML list. Parameter: root context. */}}
{{- define "tempo-stack.tempo.processors" -}}
{{- $processors := list -}}
{{- with .Values.tempo.metricsGenerator -}}
{{- if and .enabled .spanMetrics.enabled -}}{{- $processors = append $processors "span-metrics" -}}{{- end -}}
{{- if and .enabled .serviceGraphs.enabled -}}{{- $processors = append $processors "service-graphs" -}}{{- end -}}
{{- end -}}
{{- if include "tempo-stack.tempo.generatorBlocks" . -}}{{- $processors = append $processors "local-blocks" -}}{{- end -}}
{{- toYaml $processors -}}
{{- end }}

{{/*
The generator's part of Tempo's file.
A processor runs only where the overrides name it, and a generator only where it has a folder.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.generator" -}}
{{- $config := dict -}}
{{- with include "tempo-stack.tempo.processors" . | fromYamlArray -}}
{{- $data := include "tempo-stack.tempo.dataPath" $ -}}
{{- $generator := dict "storage" (dict "path" (printf "%s/generator/wal" $data)) -}}
{{- $overrides := dict "processors" . -}}
{{- if include "tempo-stack.tempo.generatesMetrics" $ -}}
{{- include "tempo-stack.config.merge" (dict "into" $generator "from" (include "tempo-stack.tempo.config.metrics" $ | fromYaml)) -}}
{{- $series := $.Values.tempo.metricsGenerator.maxActiveSeries -}}
{{- if kindIs "invalid" $series -}}{{- $series = div (include "tempo-stack.tempo.memoryBytes" $ | int64) 65536 -}}{{- end -}}
{{- $_ := set $overrides "max_active_series" (int64 $series) -}}
{{- if $.Values.tempo.metricsGenerator.nativeHistograms -}}{{- $_ := set $overrides "generate_native_histograms" "both" -}}{{- end -}}
{{- end -}}
{{- if include "tempo-stack.tempo.generatorBlocks" $ -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (include "tempo-stack.tempo.config.generatorBlocks" $ | fromYaml)) -}}
{{- end -}}
{{- include "tempo-stack.config.merge" (dict "into" $config "from" (dict
  "metrics_generator" $generator
  "overrides" (dict "defaults" (dict "metrics_generator" $overrides)))) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* What makes metrics and where they go, as settings of the generator. Parameter: root context. */}}
{{- define "tempo-stack.tempo.config.metrics" -}}
{{- $values := .Values.tempo.metricsGenerator -}}
{{- $registry := dict "collection_interval" $values.collectionInterval -}}
{{- with $values.externalLabels -}}{{- $_ := set $registry "external_labels" . -}}{{- end -}}
{{- $processor := dict -}}
{{- with $values.spanMetrics -}}
{{- if .enabled -}}
{{- $span := dict "dimensions" (.dimensions | default list) -}}
{{- with .histogramBuckets -}}{{- $_ := set $span "histogram_buckets" . -}}{{- end -}}
{{- $_ := set $processor "span_metrics" $span -}}
{{- end -}}
{{- end -}}
{{- with $values.serviceGraphs -}}
{{- if .enabled -}}{{- $_ := set $processor "service_graphs" (dict "dimensions" (.dimensions | default list)) -}}{{- end -}}
{{- end -}}
{{- $targets := list -}}
{{- range $name, $target := $values.remoteWrite -}}
{{- $write := dict "name" $name "url" $target.url "send_exemplars" (dig "exemplars" true $target) -}}
{{- $files := printf "%s/%s" (include "tempo-stack.tempo.remoteWrite.path" $) $name -}}
{{- if $target.passwordKey -}}
{{- $_ := set $write "basic_auth" (dict "username" $target.username "password_file" (printf "%s/password" $files)) -}}
{{- else if $target.tokenKey -}}
{{- $_ := set $write "authorization" (dict "type" "Bearer" "credentials_file" (printf "%s/token" $files)) -}}
{{- end -}}
{{- $targets = append $targets $write -}}
{{- end -}}
{{- dict "registry" $registry "processor" $processor "storage" (dict "remote_write" $targets) | toYaml -}}
{{- end }}

{{/*
The generator's own blocks: of all spans, not only of those that enter a service, cut as often and as small as the ingester's.
They stay for an hour, and for that long queries ask the generator; what is older, they look for among the stored blocks.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.generatorBlocks" -}}
{{- $memory := include "tempo-stack.tempo.memoryBytes" . | int64 -}}
{{- $limits := include "tempo-stack.tempo.config.limits" . | fromYaml -}}
{{- $blocks := dict
  "filter_server_spans" false
  "flush_check_period" "1s"
  "trace_idle_period" "1s"
  "max_block_bytes" $limits.ingester.max_block_bytes
  "block" $limits.storage.trace.block
  "concurrency" (div $memory 1073741824 | max 1 | min 4) -}}
{{- $config := dict -}}
{{- if eq (include "tempo-stack.tempo.generatorBlocks" .) "all" -}}
{{- $_ := set $blocks "flush_to_storage" true -}}
{{- else -}}
{{- $_ := set $config "query_frontend" (dict "metrics" (dict "query_backend_after" "1h")) -}}
{{- end -}}
{{- $_ := set $config "metrics_generator" (dict
  "processor" (dict "local_blocks" $blocks)
  "traces_storage" (dict "path" (printf "%s/generator/traces" (include "tempo-stack.tempo.dataPath" .)))) -}}
{{- toYaml $config -}}
{{- end }}

{{/* Volume with the credentials of all targets, as YAML; empty when none has any. Parameter: root context. */}}
{{- define "tempo-stack.tempo.remoteWrite.volume" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- $sources := list -}}
{{- range $name, $target := .Values.tempo.metricsGenerator.remoteWrite -}}
{{- range $file, $key := dict "password" $target.passwordKey "token" $target.tokenKey -}}
{{- if $key -}}
{{- $items := list (dict "key" $key "path" (printf "%s/%s" $name $file)) -}}
{{- $sources = append $sources (dict "secret" (dict "name" $target.existingSecret "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $sources -}}
{{- dict "name" "remote-write" "projected" (dict "sources" .) | toYaml -}}
{{- end -}}
{{- end -}}
{{- end }}
