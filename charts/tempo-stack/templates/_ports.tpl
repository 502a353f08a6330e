{{/*
Which ports a component has, as maps by values key; Services, containers and listeners all read these.
*/}}

{{/* The ports of a container of Tempo. Parameters: ctx, component (row). */}}
{{- define "tempo-stack.tempo.ownPorts" -}}
{{- $all := include "tempo-stack.tempo.knownPorts" .ctx | fromYaml -}}
{{- $ports := dict -}}
{{- range .component.ports -}}{{- $_ := set $ports . (get $all .) -}}{{- end -}}
{{- toYaml $ports -}}
{{- end }}

{{/*
Every port that a component may have: those that it serves its users on, and those between the parts of a fleet.
Only a query-frontend's HTTP is the Service's http: the other parts show metrics and probes there.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.knownPorts" -}}
{{ include "tempo-stack.tempo.servedPorts" . }}
{{- with .Values.tempo }}
{{- /* A mirror's has a name of its own, so that the Service leads past it to the Collector. */}}
otlpMirror: {name: otlp-mirror, port: {{ int .service.ports.otlpGrpc }}, protocol: TCP, appProtocol: grpc}
httpMetrics: {name: http-metrics, port: {{ int .service.ports.http }}, protocol: TCP, appProtocol: http}
grpc: {name: grpc, port: {{ int .internalPorts.grpc }}, protocol: TCP, appProtocol: grpc}
gossip: {name: gossip, port: {{ int .internalPorts.memberlist }}, protocol: TCP, appProtocol: tcp}
{{- end }}
{{- end }}

{{/* The ports that Tempo serves its users on, whichever component does. Parameter: root context. */}}
{{- define "tempo-stack.tempo.servedPorts" -}}
{{- with .Values.tempo.service.ports -}}
http: {name: http, port: {{ int .http }}, protocol: TCP, appProtocol: http}
otlpGrpc: {name: otlp-grpc, port: {{ int .otlpGrpc }}, protocol: TCP, appProtocol: grpc}
{{- end -}}
{{- end }}

{{/*
The port of the container that guards the volume, when it is there.
Its Service names it by number: not every Kubernetes finds the name of a port of a container that starts before the others.
*/}}
{{- define "tempo-stack.tempo.diskPorts" -}}
{{- if include "tempo-stack.tempo.guardsDisk" . -}}
{{- $port := int .Values.tempo.service.ports.diskMetrics -}}
diskMetrics: {name: disk-metrics, port: {{ $port }}, targetPort: {{ $port }}, protocol: TCP, appProtocol: http}
{{- end -}}
{{- end }}

{{/*
Tempo's ports behind its Service. In front of mirrors it finds pods by the names of ports: `http` leads to mirrors,
`otlp-grpc` to Collectors, which send to both. A port by number would lead to all of them.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.ports" -}}
{{- $served := include "tempo-stack.tempo.servedPorts" . | fromYaml -}}
{{- if not (include "tempo-stack.tempo.mirrored" .) -}}
{{- $served = merge $served (include "tempo-stack.tempo.diskPorts" . | fromYaml) -}}
{{- else if not .Values.otelCollector.receivers.otlpGrpc.enabled -}}
{{- $served = omit $served "otlpGrpc" -}}
{{- end -}}
{{- toYaml $served -}}
{{- end }}

{{/* The ports of a component's pods behind the Service that names them. Parameters: ctx, component (row). */}}
{{- define "tempo-stack.tempo.podPorts" -}}
{{ include "tempo-stack.tempo.ownPorts" . }}
{{ include "tempo-stack.tempo.diskPorts" .ctx }}
{{- end }}

{{/* The Collector's ports: those of enabled receivers, metrics, and extraPorts. */}}
{{- define "tempo-stack.otelCollector.ports" -}}
{{- $service := .Values.otelCollector.service -}}
{{- $ports := dict "metrics" (dict "name" "metrics" "protocol" "TCP" "appProtocol" "http") -}}
{{- $known := dict
  "otlpGrpc" (dict "name" "otlp-grpc" "protocol" "TCP" "appProtocol" "grpc")
  "otlpHttp" (dict "name" "otlp-http" "protocol" "TCP" "appProtocol" "http")
  "jaegerGrpc" (dict "name" "jaeger-grpc" "protocol" "TCP" "appProtocol" "grpc")
  "jaegerThriftHttp" (dict "name" "jaeger-http" "protocol" "TCP" "appProtocol" "http")
  "zipkin" (dict "name" "zipkin" "protocol" "TCP" "appProtocol" "http")
  "jaegerThriftCompact" (dict "name" "jaeger-compact" "protocol" "UDP")
  "jaegerThriftBinary" (dict "name" "jaeger-binary" "protocol" "UDP") -}}
{{- if $.Values.otelCollector.tls.enabled -}}
{{- /* What runs inside of TLS, HTTP/1.1 or HTTP/2, is agreed on there. */ -}}
{{- range $known -}}{{- if eq .protocol "TCP" -}}{{- $_ := set . "appProtocol" "https" -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range $key, $port := $known -}}
{{- if (get $.Values.otelCollector.receivers $key).enabled -}}{{- $_ := set $ports $key $port -}}{{- end -}}
{{- end -}}
{{- range $key, $port := $ports -}}{{- $_ := set $port "port" (int (get $service.ports $key)) -}}{{- end -}}
{{- $ports = merge $ports (include "tempo-stack.tenants.ports" . | fromYaml) -}}
{{- range $name, $port := $service.extraPorts -}}
{{- $extra := dict "name" $name "port" (int $port.port) "protocol" (default "TCP" $port.protocol) -}}
{{- with $port.appProtocol -}}{{- $_ := set $extra "appProtocol" . -}}{{- end -}}
{{- $_ := set $ports (printf "extraPorts.%s" $name) $extra -}}
{{- end -}}
{{- toYaml $ports -}}
{{- end }}

{{/* Port list of a container. Parameter: the map of ports. */}}
{{- define "tempo-stack.containerPorts" -}}
{{- $list := list -}}
{{- range . -}}
{{- $list = append $list (dict "name" .name "containerPort" (int .port) "protocol" .protocol) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}
