{{/* Chart name, as the label app.kubernetes.io/name. */}}
{{- define "observability.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end }}

{{/* Front of every object name, at most 37 characters; a longer one keeps its start and gets a hash of the whole. */}}
{{- define "observability.fullname" -}}
{{- $name := .Release.Name -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if not (contains (include "observability.name" .) .Release.Name) -}}
{{- $name = printf "%s-%s" .Release.Name (include "observability.name" .) -}}
{{- end -}}
{{- if gt (len $name) 37 -}}
{{- $name = printf "%s-%s" ($name | trunc 28 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Labels of every object. Parameters: ctx (root context), component. */}}
{{- define "observability.labels" -}}
app.kubernetes.io/name: {{ include "observability.name" .ctx | quote }}
app.kubernetes.io/instance: {{ .ctx.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .ctx.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .ctx.Release.Service }}
app.kubernetes.io/part-of: observability
{{- end }}

{{/*
Address of Tempo's query API: the one that is set, else the one of tempo-stack; empty when there is no Tempo.
A subchart whose condition is off has no templates, so its template is only used when it is on.
*/}}
{{- define "observability.tempo.queryUrl" -}}
{{- if .Values.grafana.datasource.url -}}
{{- .Values.grafana.datasource.url -}}
{{- else if index .Values "tempo-stack" "enabled" -}}
{{- $stack := index .Subcharts "tempo-stack" -}}
{{- if $stack.Values.tempo.enabled -}}
{{- include "tempo-stack.tempo.queryUrl" $stack -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tags as Grafana wants them. Parameter: map of attribute to name. */}}
{{- define "observability.grafana.tags" -}}
{{- $list := list -}}
{{- range $key, $value := . -}}
{{- $list = append $list (dict "key" $key "value" $value) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/*
The datasource's jsonData.
Grafana expands $ in provisioning files, hence the doubling in queries.
Parameter: grafana.datasource (values).
*/}}
{{- define "observability.grafana.jsonData" -}}
{{- $json := dict "nodeGraph" (dict "enabled" .nodeGraph) "streamingEnabled" (dict "search" .streamingSearch) -}}
{{- with .tracesToLogs -}}
{{- if .datasourceUid -}}
{{- $_ := set $json "tracesToLogsV2" (dict
  "datasourceUid" .datasourceUid
  "spanStartTimeShift" .startShift
  "spanEndTimeShift" .endShift
  "tags" (include "observability.grafana.tags" (default (dict "service.name" "service_name") .tags) | fromYamlArray)
  "filterByTraceID" true
  "filterBySpanID" false) -}}
{{- end -}}
{{- end -}}
{{- with .tracesToMetrics -}}
{{- if .datasourceUid -}}
{{- $queries := list -}}
{{- range $name, $query := .queries -}}
{{- $queries = append $queries (dict "name" $name "query" (replace "$" "$$" $query)) -}}
{{- end -}}
{{- $_ := set $json "tracesToMetrics" (dict
  "datasourceUid" .datasourceUid
  "spanStartTimeShift" .startShift
  "spanEndTimeShift" .endShift
  "tags" (include "observability.grafana.tags" (default (dict "service.name" "service") .tags) | fromYamlArray)
  "queries" $queries) -}}
{{- end -}}
{{- end -}}
{{- with .serviceMap.datasourceUid -}}
{{- $_ := set $json "serviceMap" (dict "datasourceUid" .) -}}
{{- end -}}
{{- toYaml $json -}}
{{- end }}
