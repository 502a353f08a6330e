{{/*
What Grafana is told about Tempo.
*/}}

{{/* Address of Tempo's query API: the one that is set, else the one of this release; empty when there is no Tempo. */}}
{{- define "tempo-stack.grafana.url" -}}
{{- if .Values.grafana.datasource.url -}}
{{- .Values.grafana.datasource.url -}}
{{- else if .Values.tempo.enabled -}}
{{- include "tempo-stack.tempo.queryUrl" . -}}
{{- end -}}
{{- end }}

{{/* Tags as Grafana wants them. Parameter: map of attribute to name. */}}
{{- define "tempo-stack.grafana.tags" -}}
{{- $list := list -}}
{{- range $key, $value := . -}}
{{- $list = append $list (dict "key" $key "value" $value) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/*
The datasource's jsonData.
Grafana expands $ in provisioning files, hence the doubling in queries; what the operator brings it leaves alone.
Parameters: datasource (values), tenant (empty: none).
*/}}
{{- define "tempo-stack.grafana.jsonData" -}}
{{- $dollar := ternary "$$" "$" (eq .datasource.kind "configMap") -}}
{{- $tenant := .tenant -}}
{{- with .datasource -}}
{{- $json := dict "nodeGraph" (dict "enabled" .nodeGraph) "streamingEnabled" (dict "search" .streamingSearch) -}}
{{- if $tenant -}}{{- $_ := set $json "httpHeaderName1" "X-Scope-OrgID" -}}{{- end -}}
{{- with .tracesToLogs -}}
{{- if .datasourceUid -}}
{{- $_ := set $json "tracesToLogsV2" (dict
  "datasourceUid" .datasourceUid
  "spanStartTimeShift" .startShift
  "spanEndTimeShift" .endShift
  "tags" (include "tempo-stack.grafana.tags" (default (dict "service.name" "service_name") .tags) | fromYamlArray)
  "filterByTraceID" true
  "filterBySpanID" false) -}}
{{- end -}}
{{- end -}}
{{- with .tracesToMetrics -}}
{{- if .datasourceUid -}}
{{- $queries := list -}}
{{- range $name, $query := .queries -}}
{{- $queries = append $queries (dict "name" $name "query" (replace "$" $dollar $query)) -}}
{{- end -}}
{{- $_ := set $json "tracesToMetrics" (dict
  "datasourceUid" .datasourceUid
  "spanStartTimeShift" .startShift
  "spanEndTimeShift" .endShift
  "tags" (include "tempo-stack.grafana.tags" (default (dict "service.name" "service") .tags) | fromYamlArray)
  "queries" $queries) -}}
{{- end -}}
{{- end -}}
{{- with .serviceMap.datasourceUid -}}
{{- $_ := set $json "serviceMap" (dict "datasourceUid" .) -}}
{{- end -}}
{{- toYaml $json -}}
{{- end -}}
{{- end }}

{{/* The datasource itself, which both kinds of object carry. Parameter: root context. */}}
{{- define "tempo-stack.grafana.entry" -}}
{{- $datasource := .Values.grafana.datasource -}}
{{- $tenant := include "tempo-stack.tenant" . -}}
{{- $entry := dict
  "name" $datasource.name
  "type" "tempo"
  "access" "proxy"
  "url" (include "tempo-stack.grafana.url" .)
  "isDefault" $datasource.isDefault
  "editable" $datasource.editable
  "jsonData" (include "tempo-stack.grafana.jsonData" (dict "datasource" $datasource "tenant" $tenant) | fromYaml) -}}
{{- with $tenant -}}{{- $_ := set $entry "secureJsonData" (dict "httpHeaderValue1" .) -}}{{- end -}}
{{- toYaml $entry -}}
{{- end }}
