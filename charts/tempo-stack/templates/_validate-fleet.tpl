{{/* Guards of tempo.mode and tempo.components.*; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.tempoMode" -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $tempo := .Values.tempo -}}
{{- if not (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0")) }}
tempo.mode is microservices: the chart writes a fleet for Tempo 2.9 and later, and this is {{ include "tempo-stack.tempo.version" . | default "unknown" }}. Set tempo.image.tag to 2.10.8, or tempo.mode to monolithic.
{{- end -}}
{{- if eq $tempo.storage.backend "local" }}
tempo.storage.backend is local while tempo.mode is microservices: queriers would not find the blocks that other parts keep on their own volumes. Set it to s3, gcs or azure, or tempo.mode to monolithic.
{{- end -}}
{{- with $tempo.persistence.existingClaim }}
tempo.persistence.existingClaim is {{ . }} while tempo.mode is microservices: each pod needs a claim of its own, and the write-ahead log that is on this one would stay there. While tempo.mode is monolithic, have Tempo write the log to the bucket (POST {{ include "tempo-stack.tempo.queryUrl" $ }}/flush), then remove the claim's name.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Each span goes to as many ingesters, and as many zones, as there are replicas of it; more than half of them must answer. */}}
{{- define "tempo-stack.validate.tempoIngesters" -}}
{{- if and (include "tempo-stack.tempo.isFleet" .) (not (include "tempo-stack.tempo.onKafka" .)) -}}
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

{{/* Kafka, and the parts whose number follows from its partitions. */}}
{{- define "tempo-stack.validate.tempoKafka" -}}
{{- if include "tempo-stack.tempo.onKafka" . -}}
{{- $kafka := .Values.tempo.kafka -}}
{{- $builder := .Values.tempo.components.blockBuilder -}}
{{- $zones := .Values.tempo.components.liveStore.zones | default list -}}
{{- if not $kafka.address }}
tempo.kafka.address is empty while tempo.mode is microservices: the parts of Tempo {{ include "tempo-stack.tempo.version" . }} share Kafka. Set it to host and port of a broker, for example kafka-bootstrap.kafka.svc:9092, or tempo.image.tag to 2.10.8, which needs none.
{{- end -}}
{{- if ne (mod (int $kafka.partitions) (int $builder.partitionsPerInstance)) 0 }}
tempo.kafka.partitions is {{ int $kafka.partitions }} while tempo.components.blockBuilder.partitionsPerInstance is {{ int $builder.partitionsPerInstance }}: the last block-builder would read partitions that don't exist, or some would have none. Set partitions to a multiple of {{ int $builder.partitionsPerInstance }}, as the topic has them.
{{- end -}}
{{- if eq (len $zones) 1 }}
tempo.components.liveStore.zones names one zone, {{ first $zones }}: every search would fail while any of its live-stores is away. Name two, or none for two sets of live-stores that may run anywhere.
{{- end -}}
{{- if and $kafka.sasl.existingSecret (not $kafka.sasl.username) }}
tempo.kafka.sasl.username is empty while tempo.kafka.sasl.existingSecret is {{ $kafka.sasl.existingSecret }}: Tempo wants both or neither. Set the name to which the password belongs.
{{- else if and $kafka.sasl.username (not $kafka.sasl.existingSecret) }}
tempo.kafka.sasl.existingSecret is empty while tempo.kafka.sasl.username is {{ $kafka.sasl.username }}: Tempo wants both or neither. Name the Secret that holds the password.
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a component may have of its own; anything else would be read by nothing. */}}
{{- define "tempo-stack.validate.tempoComponentKeys" -}}
{{- if .Values.tempo.enabled -}}
{{- $shared := list "replicas" "resources" "terminationGracePeriodSeconds" "extraArgs" "extraEnv" "extraEnvFrom" "podAnnotations" "podLabels"
  "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "spreadByZone" "priorityClassName" "probes" -}}
{{- $own := dict
  "ingester" (list "replicationFactor" "zones" "persistence" "limits")
  "querier" (list "query") "queryFrontend" (list "query") "metricsGenerator" (list "persistence")
  "liveStore" (list "zones" "persistence" "limits") "blockBuilder" (list "partitionsPerInstance" "cycle" "persistence") "backendWorker" (list "persistence") -}}
{{- $computed := dict "liveStore" "tempo.kafka.partitions in each zone" "blockBuilder" "tempo.kafka.partitions divided by partitionsPerInstance" "backendScheduler" "always one" -}}
{{- range $component, $values := .Values.tempo.components -}}
{{- if and (hasKey $values "replicas") (hasKey $computed $component) }}
tempo.components.{{ $component }}.replicas is {{ include "tempo-stack.scalar" $values.replicas }}: their number is {{ get $computed $component }}. Remove it.
{{- end -}}
{{- range $key, $_ := $values -}}
{{- if not (has $key (concat $shared (get $own $component | default list) (list "autoscaling"))) }}
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
