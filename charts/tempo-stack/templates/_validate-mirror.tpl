{{/* Guards of mirrors, which tempo.replicas: 2 makes; _validate.tpl runs them. */}}

{{/* Each mirror needs a volume of its own. */}}
{{- define "tempo-stack.validate.mirrorVolume" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
{{- with .Values.tempo.persistence -}}
{{- if not .enabled -}}
tempo.replicas is 2 while tempo.persistence.enabled is false: a mirror that is replaced would have lost its traces. Switch persistence on, or set tempo.replicas to 1.
{{- else if .existingClaim -}}
tempo.replicas is 2 while tempo.persistence.existingClaim is {{ .existingClaim }}: both mirrors would write to one claim and destroy each other's write-ahead log. Remove the claim's name, so that each gets one of its own, or set tempo.replicas to 1.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Older ones have no way to answer only when spans are in the write-ahead log. */}}
{{- define "tempo-stack.validate.mirrorVersion" -}}
{{- $version := include "tempo-stack.tempo.version" . -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) $version (not (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0"))) -}}
tempo.replicas is 2 with Tempo {{ $version }}: before 2.9 a mirror that is killed loses spans that it has acknowledged, and nobody sends them again. Choose Tempo 2.9 or later, or set tempo.replicas to 1.
{{- end -}}
{{- end }}

{{/* Only the Collector's queues hand every span to both, and only on claims they outlive what a mirror is away for. */}}
{{- define "tempo-stack.validate.mirrorCollector" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
{{- $collector := .Values.otelCollector -}}
{{- if not $collector.enabled -}}
tempo.replicas is 2 while otelCollector.enabled is false: nobody would send each span to both mirrors. Switch the Collector on, or set tempo.replicas to 1.
{{- else if not (include "tempo-stack.otelCollector.stateful" .) -}}
tempo.replicas is 2 while the Collector's queues are on no claims (otelCollector.queue.type is {{ $collector.queue.type }}, otelCollector.queue.persistence.enabled is {{ $collector.queue.persistence.enabled }}): with the pod of a Collector what waits for a mirror would go. Set the type to file and persistence.enabled to true, or tempo.replicas to 1.
{{- else if and (include "tempo-stack.otelCollector.version" .) (not (include "tempo-stack.otelCollector.batchesInQueue" .)) -}}
tempo.replicas is 2 with Collector {{ include "tempo-stack.otelCollector.version" . }}: before 0.130 its queues don't tell how many bytes wait for a mirror. Choose 0.130 or later, or set tempo.replicas to 1.
{{- else if and (kindIs "invalid" $collector.replicas) (not $collector.autoscaling.enabled) -}}
otelCollector.replicas is null while tempo.replicas is 2: the mirrors ask every Collector what waits for them, so the chart has to know how many there may be. Set a number, or otelCollector.autoscaling with its maxReplicas.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Each mirror has an exporter of its own, with its own address. */}}
{{- define "tempo-stack.validate.mirrorExporter" -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) .Values.otelCollector.enabled -}}
{{- with .Values.otelCollector.exporter.endpoint }}
otelCollector.exporter.endpoint is {{ . }} while tempo.replicas is 2: the mirrors would get nothing. Remove it, or set tempo.replicas to 1.
{{- end -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $used := list -}}
{{- range dig "service" "pipelines" dict $config -}}{{- $used = concat $used ((. | default dict).exporters | default list) -}}{{- end -}}
{{- range $way := include "tempo-stack.tenants.ways" . | fromYamlArray -}}
{{- range $ordinal, $id := $way.exporters -}}
{{- $host := include "tempo-stack.tempo.mirrorHost" (dict "ctx" $ "ordinal" $ordinal) -}}
{{- $endpoint := dig "exporters" $id "endpoint" "" $config -}}
{{- if and $endpoint (not (hasPrefix (printf "%s:" $host) $endpoint)) }}
otelCollector.config.exporters.{{ $id }}.endpoint is {{ $endpoint }}: mirror {{ $ordinal }} would get nothing. Remove it.
{{- else if not (has $id $used) }}
otelCollector.config takes {{ $id }} out of the pipelines: mirror {{ $ordinal }} would get nothing. Leave the exporter in, and name it in service.pipelines.{{ $way.pipeline }}.exporters.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Both would count the same spans. */}}
{{- define "tempo-stack.validate.mirrorGenerator" -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) .Values.tempo.metricsGenerator.enabled -}}
tempo.metricsGenerator.enabled is true while tempo.replicas is 2: both mirrors would send the same series, and Prometheus would count every span twice or refuse it. Set tempo.metricsGenerator.enabled to false and make the metrics in the Collector (its connector spanmetrics), or set tempo.replicas to 1.
{{- end -}}
{{- end }}

{{/* Two that compact and delete in one folder of a bucket take each other's blocks away. */}}
{{- define "tempo-stack.validate.mirrorPrefix" -}}
{{- $tempo := .Values.tempo -}}
{{- $backend := $tempo.storage.backend -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) (ne $backend "local") -}}
{{- $flag := printf "storage.trace.%s.prefix" $backend -}}
{{- with dig "storage" "trace" $backend "prefix" "" ($tempo.config | default dict) }}
tempo.config.{{ $flag }} is {{ . }} while tempo.replicas is 2: the second mirror has a folder of its own in that of the first, named after its pod. Set tempo.storage.{{ $backend }}.prefix to {{ . }} instead.
{{- end -}}
{{- if contains $flag (toJson $tempo.extraArgs) }}
tempo.extraArgs sets {{ $flag }} while tempo.replicas is 2: both mirrors would write into one folder and take each other's blocks away. Set tempo.storage.{{ $backend }}.prefix instead, to which the second adds the name of its pod.
{{- end -}}
{{- if dig "storage" "trace" "empty_tenant_deletion_enabled" false ($tempo.config | default dict) }}
tempo.config.storage.trace.empty_tenant_deletion_enabled is true while tempo.replicas is 2: the first mirror takes the folder of the second for a tenant without blocks, and would delete it. Set it to false, or tempo.replicas to 1.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Service finds mirrors by the name of their port. */}}
{{- define "tempo-stack.validate.mirrorPorts" -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) (hasKey (.Values.otelCollector.service.extraPorts | default dict) "http") -}}
otelCollector.service.extraPorts.http has the name of the port of Tempo while tempo.replicas is 2: queries would be sent to the Collector. Give it another name.
{{- end -}}
{{- end }}
