{{/*
What Grafana is told about Tempo.
*/}}

{{/* Address of Tempo's query API: the one that is set, else this release's guarded door, else its Tempo; empty when there is none. */}}
{{- define "tempo-stack.grafana.url" -}}
{{- if .Values.grafana.datasource.url -}}
{{- .Values.grafana.datasource.url -}}
{{- else if .Values.queryProxy.enabled -}}
{{- include "tempo-stack.queryProxy.url" . -}}
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
Queries from a span to the metrics that this release makes of it; empty when it makes none.
Grafana puts the labels of the span in the place of $__tags, or nothing, and a selector may end with a comma.
Parameter: root context.
*/}}
{{- define "tempo-stack.grafana.spanQueries" -}}
{{- if and (include "tempo-stack.tempo.generatesMetrics" .) .Values.tempo.metricsGenerator.spanMetrics.enabled -}}
Spans per second: sum(rate(traces_spanmetrics_calls_total{$__tags}[5m]))
Failed spans per second: sum(rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR", $__tags}[5m]))
Duration, 95th percentile: histogram_quantile(0.95, sum by (le) (rate(traces_spanmetrics_latency_bucket{$__tags}[5m])))
{{- end -}}
{{- end }}

{{/*
The datasource's jsonData.
Grafana expands $ in provisioning files, hence the doubling in queries; what the operator brings it leaves alone.
Parameters: datasource (values), tenant (empty: none), spanQueries (where the values have none).
*/}}
{{- define "tempo-stack.grafana.jsonData" -}}
{{- $dollar := ternary "$$" "$" (eq .datasource.kind "configMap") -}}
{{- $tenant := .tenant -}}
{{- $spanQueries := .spanQueries -}}
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
{{- range $name, $query := default $spanQueries .queries -}}
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
  "jsonData" (include "tempo-stack.grafana.jsonData" (dict
    "datasource" $datasource
    "tenant" $tenant
    "spanQueries" (include "tempo-stack.grafana.spanQueries" . | fromYaml)) | fromYaml) -}}
{{- $secure := dict -}}
{{- with $tenant -}}{{- $_ := set $secure "httpHeaderValue1" . -}}{{- end -}}
{{- with $datasource.basicAuth -}}
{{- if .user -}}
{{- $_ := set $entry "basicAuth" true -}}
{{- $_ := set $entry "basicAuthUser" .user -}}
{{- /* Grafana reads the variable, the operator puts the key of the Secret here. */ -}}
{{- $_ := set $secure "basicAuthPassword" (ternary (printf "$__env{%s}" .passwordVariable) (printf "${%s}" .passwordKey) (eq $datasource.kind "configMap")) -}}
{{- end -}}
{{- end -}}
{{- if and $datasource.caFile (eq $datasource.kind "configMap") -}}
{{- $_ := set $entry.jsonData "tlsAuthWithCACert" true -}}
{{- $_ := set $secure "tlsCACert" (printf "$__file{%s}" $datasource.caFile) -}}
{{- end -}}
{{- if $secure -}}{{- $_ := set $entry "secureJsonData" $secure -}}{{- end -}}
{{- toYaml $entry -}}
{{- end }}
