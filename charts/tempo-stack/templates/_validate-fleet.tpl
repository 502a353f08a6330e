{{/* Guards of tempo.mode and tempo.components.*; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.tempoMode" -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $tempo := .Values.tempo -}}
{{- if not (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0 <3.0.0")) }}
tempo.mode is microservices: the chart writes a fleet for Tempo 2.9 and 2.10 only, and this is {{ include "tempo-stack.tempo.version" . | default "unknown" }}. Set tempo.image.tag to 2.10.8, or tempo.mode to monolithic.
{{- end -}}
{{- if eq $tempo.storage.backend "local" }}
tempo.storage.backend is local while tempo.mode is microservices: queriers would not find the blocks that ingesters keep on their own volumes. Set it to s3, or tempo.mode to monolithic.
{{- end -}}
{{- with $tempo.persistence.existingClaim }}
tempo.persistence.existingClaim is {{ . }} while tempo.mode is microservices: each ingester needs a claim of its own. Remove it, and the write-ahead log that is on it stays there until tempo.mode is monolithic again.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Each span goes to as many ingesters, and as many zones, as there are replicas of it; more than half of them must answer. */}}
{{- define "tempo-stack.validate.tempoIngesters" -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $ingester := .Values.tempo.components.ingester -}}
{{- $replicas := int $ingester.replicas -}}
{{- $factor := int $ingester.replicationFactor -}}
{{- $zones := len ($ingester.zones | default list) -}}
{{- if not (has $factor (list 1 3)) }}
tempo.components.ingester.replicationFactor is {{ $factor }}: an even number needs all but half of its ingesters for a majority, so it survives no more than the odd number below. Set it to 3, or to 1 for a trial.
{{- end -}}
{{- if lt $replicas $factor }}
tempo.components.ingester.replicas is {{ $replicas }} while tempo.components.ingester.replicationFactor is {{ $factor }}: there are not enough ingesters to hold each span so often. Set replicas to {{ $factor }} or more.
{{- end -}}
{{- if $zones -}}
{{- if eq (mod $zones 2) 0 }}
tempo.components.ingester.zones names {{ $zones }} zones: of an even number there is no majority when half of them are away. Name {{ add1 $zones }} zones, or none.
{{- else if lt $zones $factor }}
tempo.components.ingester.zones names {{ $zones }} zones while tempo.components.ingester.replicationFactor is {{ $factor }}: each replica of a span is in a zone of its own. Name {{ $factor }} zones or more, or none.
{{- end -}}
{{- if ne (mod $replicas $zones) 0 }}
tempo.components.ingester.replicas is {{ $replicas }} in {{ $zones }} zones: one zone would hold more than the others. Set it to a multiple of {{ $zones }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a component may have of its own; anything else would be read by nothing. */}}
{{- define "tempo-stack.validate.tempoComponentKeys" -}}
{{- if .Values.tempo.enabled -}}
{{- $shared := list "replicas" "resources" "terminationGracePeriodSeconds" "extraArgs" "extraEnv" "extraEnvFrom" "podAnnotations" "podLabels"
  "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" "probes" -}}
{{- $own := dict
  "ingester" (list "replicationFactor" "zones" "persistence" "limits")
  "querier" (list "query") "queryFrontend" (list "query") "metricsGenerator" (list "persistence") -}}
{{- range $component, $values := .Values.tempo.components -}}
{{- range $key, $_ := $values -}}
{{- if not (has $key (concat $shared (get $own $component | default list))) }}
tempo.components.{{ $component }}.{{ $key }} is set: nothing reads it. A {{ $component }} has {{ concat $shared (get $own $component | default list) | sortAlpha | join ", " }}; what holds for all parts stands below tempo.
{{- end -}}
{{- end -}}
{{- with (($values.resources | default dict).limits | default dict).memory -}}
{{- if not (include "tempo-stack.quantity.bytes" .) }}
tempo.components.{{ $component }}.resources.limits.memory is {{ include "tempo-stack.scalar" . | quote }}: not a quantity that the chart can calculate with. Write bytes as a number with an optional Ki, Mi, Gi, Ti, k, M, G or T, for example 512Mi.
{{- end -}}
{{- end -}}
{{- with ($values.persistence | default dict).size -}}
{{- if not (include "tempo-stack.quantity.bytes" .) }}
tempo.components.{{ $component }}.persistence.size is {{ include "tempo-stack.scalar" . | quote }}: not a quantity that the chart can calculate with. Write bytes as a number with an optional Ki, Mi, Gi, Ti, k, M, G or T, for example 20Gi.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
