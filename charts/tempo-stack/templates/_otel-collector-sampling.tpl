{{/*
Which traces are kept.
*/}}

{{/*
The processors that sample, as a map. Parameter: root context.
The head decides by a hash of the trace's id and a seed that never changes, so that every Collector of every release decides alike.
The tail waits rather than forget a trace that it has not decided on, and remembers what it decided for spans that come later.
*/}}
{{- define "tempo-stack.otelCollector.sampling" -}}
{{- $sampling := .Values.otelCollector.sampling -}}
{{- $tail := $sampling.tail -}}
{{- $processors := dict -}}
{{- if lt (float64 $sampling.head.percent) 100.0 -}}
{{- $head := dict "sampling_percentage" $sampling.head.percent "hash_seed" 22 -}}
{{- $_ := set $processors "probabilistic_sampler" $head -}}
{{- end -}}
{{- if $tail.enabled -}}
{{- $cache := mul 10 (int64 $tail.maxTraces) -}}
{{- $_ := set $processors "tail_sampling" (dict
  "decision_wait" $tail.decisionWait
  "num_traces" (int64 $tail.maxTraces)
  "block_on_overflow" true
  "decision_cache" (dict "sampled_cache_size" $cache "non_sampled_cache_size" $cache)
  "policies" (include "tempo-stack.otelCollector.sampling.policies" . | fromYamlArray)) -}}
{{- end -}}
{{- toYaml $processors -}}
{{- end }}

{{/* What the tail keeps, as a list of policies, of which one is enough. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.sampling.policies" -}}
{{- $keep := .Values.otelCollector.sampling.tail.keep -}}
{{- $policies := list -}}
{{- if $keep.errors -}}
{{- $policies = append $policies (dict "name" "errors" "type" "status_code" "status_code" (dict "status_codes" (list "ERROR"))) -}}
{{- end -}}
{{- if $keep.slowerThan -}}
{{- $threshold := include "tempo-stack.duration.milliseconds" $keep.slowerThan | int64 -}}
{{- $policies = append $policies (dict "name" "slow" "type" "latency" "latency" (dict "threshold_ms" $threshold)) -}}
{{- end -}}
{{- range $key, $values := $keep.attributes -}}
{{- if $values -}}
{{- $policies = append $policies (dict "name" $key "type" "string_attribute" "string_attribute" (dict "key" $key "values" $values)) -}}
{{- end -}}
{{- end -}}
{{- if gt (float64 $keep.percent) 0.0 -}}
{{- $policies = append $policies (dict "name" "share" "type" "probabilistic" "probabilistic" (dict "sampling_percentage" $keep.percent)) -}}
{{- end -}}
{{- toYaml $policies -}}
{{- end }}
