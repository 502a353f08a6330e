{{/* Guards of tempo.components.*.autoscaling, *.spreadByZone and zones; _validate.tpl runs them. */}}

{{/* An autoscaler may take away any pod at any time: only parts that keep nothing, and tell nobody when they go, can have one. */}}
{{- define "tempo-stack.validate.tempoAutoscaling" -}}
{{- if .Values.tempo.enabled -}}
{{- $why := dict
  "ingester" "each that goes writes what it holds to the bucket first, and more than one at a time would take spans out of sight"
  "queryFrontend" "every querier keeps connections to every one of them, and two are enough for many queriers"
  "compactor" "what it has to do follows from the blocks and not from its CPU"
  "backendWorker" "what it has to do follows from the blocks and not from its CPU"
  "metricsGenerator" "each series is counted by one of them, and would begin anew at another" -}}
{{- range $name, $values := .Values.tempo.components -}}
{{- $key := printf "tempo.components.%s" $name -}}
{{- if hasKey $values "autoscaling" -}}
{{- if not (has $name (list "distributor" "querier")) }}
{{ $key }}.autoscaling is set: {{ get $why $name | default "their number follows from tempo.kafka.partitions" }}. Remove it{{ if hasKey $why $name }}, and set {{ $key }}.replicas{{ end }}; distributor and querier can have an autoscaler.
{{- else if dig "autoscaling" "enabled" false $values -}}
{{- $merged := dict -}}
{{- include "tempo-stack.tempo.component.values" (dict "ctx" $ "key" $name "into" $merged) -}}
{{- include "tempo-stack.autoscaling.problems" (dict "key" $key "values" $merged) -}}
{{- if gt (int $values.replicas) (int $values.autoscaling.maxReplicas) }}
{{ $key }}.replicas is {{ int $values.replicas }} while {{ $key }}.autoscaling.enabled is true with maxReplicas {{ int $values.autoscaling.maxReplicas }}: the autoscaler owns the number, and nothing reads replicas. Remove replicas, or raise maxReplicas.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Pods that are spread by zone twice, or that have a zone already. */}}
{{- define "tempo-stack.validate.spreadByZone" -}}
{{- $all := dict -}}
{{- range $key := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $key -}}
{{- if $values.enabled -}}{{- $_ := set $all $key (dict "own" $values "of" $values) -}}{{- end -}}
{{- end -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- range $name, $values := .Values.tempo.components -}}
{{- $of := dict -}}
{{- include "tempo-stack.tempo.component.values" (dict "ctx" $ "key" $name "into" $of) -}}
{{- $_ := set $all (printf "tempo.components.%s" $name) (dict "own" $values "of" $of) -}}
{{- end -}}
{{- end -}}
{{- range $key, $values := $all -}}
{{- $own := $values.own -}}
{{- if not (has ($own.spreadByZone | default "") (list "" "preferred" "required")) }}
{{ $key }}.spreadByZone is {{ include "tempo-stack.scalar" $own.spreadByZone | quote }}: not a way of spreading that the chart knows. Set it to preferred or required, or leave it empty.
{{- else if and (or $own.spreadByZone $own.topologySpreadConstraints) $values.of.spreadByZone -}}
{{- range $values.of.topologySpreadConstraints -}}
{{- if eq (.topologyKey | default "") "topology.kubernetes.io/zone" }}
{{ $key }}.topologySpreadConstraints has one by topology.kubernetes.io/zone while {{ $key }}.spreadByZone is {{ $values.of.spreadByZone }}, which makes another. Remove one of them.
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $own.zones -}}
{{- if $own.spreadByZone }}
{{ $key }}.spreadByZone is {{ $own.spreadByZone }} while {{ $key }}.zones names {{ join ", " $own.zones }}: each zone has pods of its own, which run nowhere else. Remove spreadByZone, or zones.
{{- end -}}
{{- with get ($own.nodeSelector | default dict) "topology.kubernetes.io/zone" }}
{{ $key }}.nodeSelector has topology.kubernetes.io/zone: {{ . }} while {{ $key }}.zones names {{ join ", " $own.zones }}: the chart sets that label for each zone. Remove it from nodeSelector, or remove zones.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
