{{/* Guards of size; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.size" -}}
{{- $sizes := omit (.Files.Get "files/sizes.yaml" | fromYaml) "default" -}}
{{- with toString .Values.size -}}
{{- if not (hasKey $sizes .) }}
size is {{ . }}: there is no such size. Set it to {{ keys $sizes | sortAlpha | join ", " }}, or leave it empty.
{{- end -}}
{{- end -}}
{{- end }}

{{/*
What lets in less than the size is for, whatever memory it has: the way from a Collector to a mirror, 30 batches of 1 MiB in six seconds,
and a partition of Kafka, 10 MB/s at most. Measured: a span takes 615 bytes on the way from the Collector to Tempo.
*/}}
{{- define "tempo-stack.validate.sizeThroughput" -}}
{{- $rate := (get (.Files.Get "files/sizes.yaml" | fromYaml) (toString .Values.size) | default dict).spansPerSecond | int64 -}}
{{- $bytes := mul $rate 615 -}}
{{- if and $rate .Values.tempo.enabled -}}
{{- $pods := add (div $bytes 5242880) 1 -}}
{{- $key := printf "otelCollector.%s" (ternary "autoscaling.maxReplicas" "replicas" .Values.otelCollector.autoscaling.enabled) -}}
{{- $has := include "tempo-stack.otelCollector.maxReplicas" . | int64 -}}
{{- if and (eq "true" (include "tempo-stack.tempo.mirrored" .)) (lt $has $pods) }}
{{ $key }} is {{ $has }} while size is {{ .Values.size }}: to mirrors a Collector sends 5 MiB/s, and {{ $rate }} spans/s need {{ $pods }} of them. Set it to {{ $pods }} or more, or size to less.
{{- end -}}
{{- $partitions := add (div $bytes 10000000) 1 -}}
{{- if and (include "tempo-stack.tempo.onKafka" .) (lt (int64 .Values.tempo.kafka.partitions) $partitions) }}
tempo.kafka.partitions is {{ int .Values.tempo.kafka.partitions }} while size is {{ .Values.size }}: a partition takes in 10 MB/s at most, and {{ $rate }} spans/s need {{ $partitions }} of them. Give the topic so many and set it to that, or size to less.
{{- end -}}
{{- end -}}
{{- end }}
