{{/* Guards of otelCollector.*; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.collectorVersion" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $version := include "tempo-stack.otelCollector.version" . -}}
{{- $key := ternary "otelCollector.version" "otelCollector.image.tag" (ne .Values.otelCollector.version "") -}}
{{- $text := default .Values.otelCollector.image.tag .Values.otelCollector.version -}}
{{- if not $version -}}
{{ $key }} is {{ $text | quote }}: it doesn't say which Collector is inside. Set otelCollector.version, for example 0.155.0.
{{- else if not (semverCompare ">=0.89.0" $version) -}}
{{ $key }} is {{ $text | quote }}: the chart writes configurations for the Collector 0.89.0 and later. Choose a newer version.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorExporter" -}}
{{- if and .Values.otelCollector.enabled (not .Values.tempo.enabled) (not .Values.otelCollector.exporter.endpoint) -}}
otelCollector.exporter.endpoint is empty while tempo.enabled is false: the Collector would have nowhere to send spans. Set it to the host and port of an OTLP gRPC server.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorReceivers" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- if not (or (dig "service" "pipelines" "traces" "receivers" "" $config) (include "tempo-stack.tenants.receiverList" . | fromYamlArray)) -}}
otelCollector.receivers are all off: no span could come in. Switch one on, or name others in otelCollector.config.service.pipelines.traces.receivers.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Service reads the ports from the values, so the file must agree with them. */}}
{{- define "tempo-stack.validate.collectorConfigPorts" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- if hasKey $ports .key -}}
{{- $port := int (get $ports .key).port -}}
{{- $endpoint := toString ((include "tempo-stack.otelCollector.receiverBlock" (dict "config" $config "row" .) | fromYaml).endpoint | default "") -}}
{{- if not (hasSuffix (printf ":%d" $port) $endpoint) }}
{{ include "tempo-stack.otelCollector.receiverKey" . }}.endpoint is {{ default "removed" $endpoint }}: the Service would still point to {{ $port }}. {{ if .tenant }}Set {{ .key }} instead.{{ else }}Set otelCollector.service.ports.{{ .key }}, or switch off otelCollector.receivers.{{ .key }}.{{ end }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names in pipelines that nothing defines end the Collector at its start. */}}
{{- define "tempo-stack.validate.collectorPipelines" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $connectors := $config.connectors | default dict -}}
{{- range $pipeline, $members := dig "service" "pipelines" dict $config -}}
{{- range $kind := list "receivers" "processors" "exporters" -}}
{{- range get ($members | default dict) $kind | default list -}}
{{- if not (or (hasKey (get $config $kind | default dict) .) (and (ne $kind "processors") (hasKey $connectors .))) }}
otelCollector.config.service.pipelines.{{ $pipeline }}.{{ $kind }} names {{ . }}: nothing under {{ $kind }} has that name. Define otelCollector.config.{{ $kind }}.{{ . }}, or take it out of the list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorMemoryLimiter" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .memoryLimiter.enabled -}}
{{- if kindIs "invalid" ((.resources | default dict).limits | default dict).memory -}}
otelCollector.resources.limits.memory is not set while otelCollector.memoryLimiter.enabled is true: the limiter needs a limit to stay below. Set the memory limit, or switch the limiter off.
{{- else if ge (int .memoryLimiter.spikePercent) (int .memoryLimiter.limitPercent) -}}
otelCollector.memoryLimiter.spikePercent is {{ int .memoryLimiter.spikePercent }}: it must be below limitPercent ({{ int .memoryLimiter.limitPercent }}), or the Collector refuses everything. Lower it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorAutoscaling" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .autoscaling.enabled -}}
{{- include "tempo-stack.autoscaling.problems" (dict "key" "otelCollector" "values" .) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorQueueType" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled (not (has .queue.type (list "file" "memory"))) -}}
otelCollector.queue.type is {{ .queue.type | quote }}: not a kind of queue that the chart knows. Set it to file or memory.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorQueuePersistence" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .queue.persistence.enabled (eq .queue.type "memory") -}}
otelCollector.queue.persistence.enabled is true while otelCollector.queue.type is memory: nothing would be written to the claim. Set the type to file, or switch persistence off.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A queue on disk takes up to 3.4 times its size when requests are tiny, 1.1 times when they hold 100 spans (measured). */}}
{{- define "tempo-stack.validate.collectorQueueSize" -}}
{{- with .Values.otelCollector -}}
{{- $size := include "tempo-stack.quantity.bytes" .queue.size -}}
{{- $claim := include "tempo-stack.quantity.bytes" .queue.persistence.size -}}
{{- $memory := include "tempo-stack.memoryLimit" .resources -}}
{{- $queues := include "tempo-stack.otelCollector.exporterIds" $ | fromYamlArray | len -}}
{{- if and .enabled $size -}}
{{- if and (eq .queue.type "memory") $memory -}}
{{- if gt (mul $queues (int64 $size)) (div (int64 $memory) 2) -}}
otelCollector.queue.size is {{ .queue.size }}: {{ if gt $queues 1 }}{{ $queues }} queues{{ else }}a queue{{ end }} in memory may take at most half of the memory limit ({{ .resources.limits.memory }}). Set it to less, for example {{ div 128 $queues }}Mi.
{{- end -}}
{{- else if and .queue.persistence.enabled (eq .queue.type "file") $claim -}}
{{- if gt (mul 2 $queues (int64 $size)) (int64 $claim) -}}
otelCollector.queue.persistence.size is {{ .queue.persistence.size }}: the claim must hold {{ if $.Values.tenants.enabled }}for each of {{ $queues }} queues, one for each tenant and mirror, {{ else if gt $queues 1 }}for each mirror {{ end }}twice the queue ({{ .queue.size }}), because the queue's file is larger than the spans in it. Make it larger, or otelCollector.queue.size smaller.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names of ports are joined with the chart's own, in the Service and in the container. */}}
{{- define "tempo-stack.validate.collectorExtraPorts" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $own := list "health" "metrics" "otlp-grpc" "otlp-http" "jaeger-grpc" "jaeger-http" "jaeger-compact" "jaeger-binary" -}}
{{- if .Values.otelCollector.receivers.zipkin.enabled -}}{{- $own = append $own "zipkin" -}}{{- end -}}
{{- range include "tempo-stack.tenants.ports" . | fromYaml -}}{{- $own = append $own .name -}}{{- end -}}
{{- range $name, $port := .Values.otelCollector.service.extraPorts -}}
{{- if has $name $own }}
otelCollector.service.extraPorts.{{ $name }} has the name of a port of the chart: one would hide the other. Give it another name.
{{- else if or (not (regexMatch "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$" $name)) (not (regexMatch "[a-z]" $name)) (contains "--" $name) }}
otelCollector.service.extraPorts.{{ $name }} isn't the name of a port: it has at most 15 of a-z, 0-9 and -, at least one letter, and no two dashes in a row. Give it another name, for example zipkin.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Collector ends at its start if something names an extension that isn't switched on. */}}
{{- define "tempo-stack.validate.collectorConfigExtensions" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $on := $config.service.extensions | default list -}}
{{- range $on -}}
{{- if not (hasKey ($config.extensions | default dict) .) }}
otelCollector.config.service.extensions names {{ . }}: nothing under extensions has that name. Define otelCollector.config.extensions.{{ . }}, or take it out of the list.
{{- end -}}
{{- end -}}
{{- range $kind := list "exporters" "receivers" -}}
{{- range $id, $component := get $config $kind | default dict -}}
{{- $component = $component | default dict -}}
{{- $wants := dict "sending_queue.storage" (dig "sending_queue" "storage" "" $component) "auth.authenticator" (dig "auth" "authenticator" "" $component) -}}
{{- range $key, $extension := $wants -}}
{{- if and $extension (not (has $extension $on)) }}
otelCollector.config.service.extensions is {{ toJson $on }}: without {{ $extension }}, which {{ $kind }}.{{ $id }}.{{ $key }} needs, the Collector would not start. Add {{ $extension }} to the list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The probes ask the health check at the port of the values and at the path /. */}}
{{- define "tempo-stack.validate.collectorConfigHealth" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $port := int .Values.otelCollector.internalPorts.healthCheck -}}
{{- $check := ($config.extensions | default dict).health_check -}}
{{- if not $check }}
otelCollector.config.extensions.health_check is removed: the probes would still ask it, and no pod would become ready. Leave it in.
{{- else if not (has "health_check" ($config.service.extensions | default list)) }}
otelCollector.config.service.extensions is {{ toJson $config.service.extensions }}: without health_check the probes get no answer, and no pod becomes ready. Add health_check to the list.
{{- else if not (hasSuffix (printf ":%d" $port) (toString $check.endpoint)) }}
otelCollector.config.extensions.health_check.endpoint is {{ $check.endpoint }}: the probes would still use port {{ $port }}. Set otelCollector.internalPorts.healthCheck instead.
{{- else if ne (default "/" $check.path) "/" }}
otelCollector.config.extensions.health_check.path is {{ $check.path }}: the probes would still ask for /. Leave the path out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The metrics Service and the ServiceMonitor count on the port of the values. */}}
{{- define "tempo-stack.validate.collectorConfigMetrics" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $metrics := dig "service" "telemetry" "metrics" dict (include "tempo-stack.otelCollector.config" . | fromYaml) -}}
{{- $port := int .Values.otelCollector.service.ports.metrics -}}
{{- $ports := list -}}
{{- range $metrics.readers -}}
{{- with dig "pull" "exporter" "prometheus" "port" "" . -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- end -}}
{{- with $metrics.address -}}{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}{{- end -}}
{{- if eq (toString $metrics.level) "none" }}
otelCollector.config.service.telemetry.metrics.level is none: the Collector's metrics Service would lead nowhere. Choose basic, normal or detailed.
{{- else if not (has $port $ports) }}
otelCollector.config.service.telemetry.metrics has {{ if $ports }}the port {{ join ", " $ports }}{{ else }}no Prometheus reader{{ end }}: the metrics Service would still use {{ $port }}. Set otelCollector.service.ports.metrics instead, and keep a reader at that port.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A receiver that no pipeline names has no listener, while its port stands in the Service. */}}
{{- define "tempo-stack.validate.collectorConfigReceivers" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $named := list -}}
{{- range dig "service" "pipelines" dict $config -}}{{- $named = concat $named ((. | default dict).receivers | default list) -}}{{- end -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- $elsewhere := and (include "tempo-stack.tenants.named" $) (or .tenant (not $.Values.tenants.default)) -}}
{{- if and $named (not $elsewhere) (hasKey $ports .key) (hasKey ($config.receivers | default dict) .receiver) (not (has .receiver $named)) }}
otelCollector.receivers.{{ .key }}.enabled is true and otelCollector.config.service.pipelines leaves {{ .receiver }} out: its port would answer nobody. Add {{ .receiver }} to the pipeline's receivers, or switch the receiver off.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Collector ignores a block that nothing names, or ends because half of it is missing. */}}
{{- define "tempo-stack.validate.collectorConfigUnused" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $used := dict "extensions" ($config.service.extensions | default list) "receivers" list "processors" list "exporters" list -}}
{{- range dig "service" "pipelines" dict $config -}}
{{- $pipeline := . | default dict -}}
{{- range $kind := list "receivers" "processors" "exporters" -}}
{{- $_ := set $used $kind (concat (get $used $kind) (get $pipeline $kind | default list)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $used "connectors" (concat $used.receivers $used.exporters) -}}
{{- range $kind, $names := $used -}}
{{- range $id, $block := get ($.Values.otelCollector.config | default dict) $kind | default dict -}}
{{- $forTenants := and (include "tempo-stack.tenants.named" $) (eq $kind "exporters") (eq $id (include "tempo-stack.otelCollector.exporterId" $)) -}}
{{- if not (or (has $id $names) (kindIs "invalid" $block) $forTenants) }}
otelCollector.config.{{ $kind }}.{{ $id }} is set and nothing uses it.
{{- if and (eq $kind "exporters") (has $id (list "otlp" "otlp_grpc")) }} The chart's exporter is otelCollector.config.exporters.otlp in every version.
{{- else if eq $kind "extensions" }} Add it to otelCollector.config.service.extensions, beside those of the chart, or remove it.
{{- else }} Name it in a pipeline below otelCollector.config.service.pipelines, or remove it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
