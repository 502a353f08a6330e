{{/*
Routes by name: Ingress, HTTPRoute and GRPCRoute to the doors that are on. They name what a door takes, so that nothing else is reached through them.
*/}}

{{/*
The doors that a route may lead to, by name: Service, port, whether it speaks TLS, what it takes over HTTP (paths, and which method) and
over gRPC (services), the MiB of a request, and the seconds that an answer may take. Receivers over UDP aren't among them.
Parameter: root context.
*/}}
{{- define "tempo-stack.routes.doors" -}}
{{- $doors := dict -}}
{{- $collector := .Values.otelCollector -}}
{{- if $collector.enabled -}}
{{- $takes := dict
  "otlpGrpc" (dict "services" (list "opentelemetry.proto.collector.trace.v1.TraceService"))
  "otlpHttp" (dict "paths" (list (dict "path" "/v1/traces")) "method" "POST")
  "jaegerGrpc" (dict "services" (list "jaeger.api_v2.CollectorService"))
  "jaegerThriftHttp" (dict "paths" (list (dict "path" "/api/traces")) "method" "POST")
  "zipkin" (dict "paths" (list (dict "path" "/api/v2/spans")) "method" "POST") -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- range $key, $door := $takes -}}
{{- with get $ports $key -}}
{{- $_ := set $doors $key (merge $door (dict
  "service" (include "tempo-stack.otelCollector.serviceName" $) "port" (int .port) "tls" $collector.tls.enabled
  "mebibytes" (int $collector.receivers.maxRequestMiB))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.tempo.enabled -}}
{{- $query := dict
  "paths" (include "tempo-stack.tempo.readPaths" . | fromYamlArray) "method" "GET"
  "services" (list (include "tempo-stack.tempo.streamingService" .))
  "service" (include "tempo-stack.tempo.serviceName" .) "port" (int .Values.tempo.service.ports.http) "tls" false
  "seconds" (include "tempo-stack.tempo.querySeconds" . | int) -}}
{{- if .Values.queryProxy.enabled -}}
{{- $_ := set $query "service" (include "tempo-stack.queryProxy.serviceName" .) -}}
{{- $_ := set $query "port" (int .Values.queryProxy.service.port) -}}
{{- $_ := set $query "tls" .Values.queryProxy.tls.enabled -}}
{{- end -}}
{{- $_ := set $doors "query" $query -}}
{{- end -}}
{{- toYaml $doors -}}
{{- end }}

{{/* The kinds of routes that can carry what a door takes. Parameter: the door. */}}
{{- define "tempo-stack.routes.kinds" -}}
- Ingress
{{- if .paths }}
- HTTPRoute
{{- end }}
{{- if .services }}
- GRPCRoute
{{- end }}
{{- end }}

{{/*
The annotations that ingress-nginx needs for a door: its own limits, of 1 MiB and 60 seconds, are not the door's. Other controllers leave them alone.
Around a message of gRPC there are a few bytes more. Parameters: door, grpc (whether the route carries gRPC).
*/}}
{{- define "tempo-stack.routes.annotations" -}}
{{- $prefix := "nginx.ingress.kubernetes.io" -}}
{{ $prefix }}/backend-protocol: {{ printf "%s%s" (ternary "GRPC" "HTTP" .grpc) (ternary "S" "" .door.tls) }}
{{- with .door.mebibytes }}
{{ $prefix }}/proxy-body-size: {{ ternary (add . 1) . $.grpc }}m
{{- end }}
{{- with .door.seconds }}
{{ $prefix }}/proxy-read-timeout: {{ . | quote }}
{{ $prefix }}/proxy-send-timeout: {{ . | quote }}
{{- end }}
{{- end }}

{{/* An Ingress. Parameters: ctx, name, route (values), door, grpc. */}}
{{- define "tempo-stack.routes.ingress" -}}
{{- $door := .door -}}
{{- $paths := list -}}
{{- if .grpc -}}
{{- range $door.services -}}{{- $paths = append $paths (dict "path" (printf "/%s/" .) "rest" "*") -}}{{- end -}}
{{- else -}}
{{- $paths = $door.paths -}}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .name }}
  namespace: {{ .ctx.Release.Namespace | quote }}
  {{- include "tempo-stack.metadata" (dict "ctx" .ctx "component" "route" "annotations" (merge (deepCopy (.route.annotations | default dict)) (include "tempo-stack.routes.annotations" . | fromYaml))) | nindent 2 }}
spec:
  {{- with .route.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with .route.tlsSecret }}
  tls:
    - secretName: {{ . | quote }}
      hosts:
        {{- toYaml $.route.hostnames | nindent 8 }}
  {{- end }}
  rules:
    {{- range .route.hostnames }}
    - host: {{ . | quote }}
      http:
        paths:
          {{- range $paths }}
          - path: {{ .path }}
            pathType: {{ ternary "Prefix" "Exact" (hasKey . "rest") }}
            backend:
              service:
                name: {{ $door.service }}
                port:
                  number: {{ $door.port }}
          {{- end }}
    {{- end }}
{{- end }}

{{/* A route of the Gateway API. Parameters: ctx, name, route (values), door. */}}
{{- define "tempo-stack.routes.gateway" -}}
{{- $door := .door -}}
{{- $grpc := eq .route.kind "GRPCRoute" -}}
{{- $matches := list -}}
{{- if $grpc -}}
{{- range $door.services -}}{{- $matches = append $matches (dict "method" (dict "type" "Exact" "service" .)) -}}{{- end -}}
{{- else -}}
{{- range $door.paths -}}
{{- $matches = append $matches (dict "method" $door.method "path" (dict "type" (ternary "PathPrefix" "Exact" (hasKey . "rest")) "value" .path)) -}}
{{- end -}}
{{- end -}}
{{- $rule := dict "matches" $matches "backendRefs" (list (dict "name" $door.service "port" $door.port)) -}}
{{- if and $door.seconds (not $grpc) -}}{{- $_ := set $rule "timeouts" (dict "request" (printf "%ds" (int $door.seconds))) -}}{{- end -}}
apiVersion: gateway.networking.k8s.io/v1
kind: {{ .route.kind }}
metadata:
  name: {{ .name }}
  namespace: {{ .ctx.Release.Namespace | quote }}
  {{- include "tempo-stack.metadata" (dict "ctx" .ctx "component" "route" "annotations" .route.annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml .route.parentRefs | nindent 4 }}
  {{- with .route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- toYaml (list $rule) | nindent 4 }}
{{- end }}
