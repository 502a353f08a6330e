{{/* Guards of routes; _validate.tpl runs them. */}}

{{/* A route leads to a door that is on. */}}
{{- define "tempo-stack.validate.routesTo" -}}
{{- $doors := include "tempo-stack.routes.doors" . | fromYaml -}}
{{- range $name, $route := .Values.routes -}}
{{- if and $route.enabled (not (hasKey $doors (toString $route.to))) }}
routes.{{ $name }}.to is {{ default "" $route.to | quote }}: {{ if has $route.to (list "jaegerThriftCompact" "jaegerThriftBinary") }}no route carries UDP{{ else if hasKey $.Values.otelCollector.receivers (toString $route.to) }}this receiver is off{{ else }}there is no such door in this release{{ end }}. Set it to one of {{ keys $doors | sortAlpha | join ", " }}, or routes.{{ $name }}.enabled to false.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Of a kind that carries what the door takes. */}}
{{- define "tempo-stack.validate.routesKind" -}}
{{- $doors := include "tempo-stack.routes.doors" . | fromYaml -}}
{{- range $name, $route := .Values.routes -}}
{{- if and $route.enabled (hasKey $doors (toString $route.to)) -}}
{{- $kinds := include "tempo-stack.routes.kinds" (get $doors $route.to) | fromYamlArray -}}
{{- if not (has $route.kind $kinds) }}
routes.{{ $name }}.kind is {{ default "" $route.kind | quote }} while routes.{{ $name }}.to is {{ $route.to }}: it doesn't carry what this door takes. Set it to {{ join " or " $kinds }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a kind needs, and what it would not look at. */}}
{{- define "tempo-stack.validate.routesFields" -}}
{{- range $name, $route := .Values.routes -}}
{{- if $route.enabled -}}
{{- if and (eq (toString $route.kind) "Ingress") (not $route.hostnames) }}
routes.{{ $name }}.hostnames is empty while routes.{{ $name }}.kind is Ingress: it would take the paths of every host of its controller. Name the hosts.
{{- else if and (has $route.kind (list "HTTPRoute" "GRPCRoute")) (not $route.parentRefs) }}
routes.{{ $name }}.parentRefs is empty while routes.{{ $name }}.kind is {{ $route.kind }}: no Gateway would take it up. Name the Gateway, for example [{name: public, namespace: gateways}].
{{- end -}}
{{- range $key := ternary (list "parentRefs") (list "className" "tlsSecret") (eq (toString $route.kind) "Ingress") -}}
{{- with get $route $key }}
routes.{{ $name }}.{{ $key }} is {{ toJson . }} while routes.{{ $name }}.kind is {{ $route.kind }}: nothing would read it{{ if eq $key "tlsSecret" }}, since the certificate is that of the Gateway's listener{{ end }}. Leave it out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tempo asks nobody who reads. */}}
{{- define "tempo-stack.validate.routesUnauthenticated" -}}
{{- range $name, $route := .Values.routes -}}
{{- if and $route.enabled (eq (toString $route.to) "query") (not $.Values.queryProxy.enabled) (not $route.acceptUnauthenticated) }}
routes.{{ $name }}.to is query while queryProxy.enabled is false: whoever reaches the route would read every trace. Set queryProxy.enabled to true, or routes.{{ $name }}.acceptUnauthenticated if something before it asks who reads.
{{- end -}}
{{- end -}}
{{- end }}
