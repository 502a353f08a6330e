{{/*
Tenants: whether Tempo asks for one, and which one the Collector names.
*/}}

{{- define "tempo-stack.tempo.hasTenants" -}}
{{- if (.Values.tempo.config | default dict).multitenancy_enabled -}}true{{- end -}}
{{- end }}

{{/* The tenant in the exporter's headers, whose names have no case; empty where there is none. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.tenantHeader" -}}
{{- $exporters := (include "tempo-stack.otelCollector.config" . | fromYaml).exporters | default dict -}}
{{- $headers := (get $exporters (include "tempo-stack.otelCollector.exporterId" .) | default dict).headers | default dict -}}
{{- range $name, $value := $headers -}}
{{- if eq (lower $name) "x-scope-orgid" -}}{{- $value -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* The tenant for the test and the datasource: only a text that the Collector doesn't expand. Parameter: root context. */}}
{{- define "tempo-stack.tenant" -}}
{{- if and (include "tempo-stack.tempo.hasTenants" .) .Values.otelCollector.enabled -}}
{{- $tenant := include "tempo-stack.otelCollector.tenantHeader" . -}}
{{- if not (contains "$" $tenant) -}}{{- $tenant -}}{{- end -}}
{{- end -}}
{{- end }}
