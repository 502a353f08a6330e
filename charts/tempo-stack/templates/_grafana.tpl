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
Parameters: ctx, tenant (whose series are meant; empty: all).
*/}}
{{- define "tempo-stack.grafana.spanQueries" -}}
{{- $values := .ctx.Values -}}
{{- $own := "" -}}
{{- if and .tenant $values.tenants.metricsLabel (include "tempo-stack.tenants.named" .ctx) -}}
{{- $own = printf "%s=%q, " $values.tenants.metricsLabel .tenant -}}
{{- end -}}
{{- if and (include "tempo-stack.tempo.generatesMetrics" .ctx) $values.tempo.metricsGenerator.spanMetrics.enabled -}}
Spans per second: sum(rate(traces_spanmetrics_calls_total{ {{- $own -}} $__tags}[5m]))
Failed spans per second: sum(rate(traces_spanmetrics_calls_total{ {{- $own -}} status_code="STATUS_CODE_ERROR", $__tags}[5m]))
Duration, 95th percentile: histogram_quantile(0.95, sum by (le) (rate(traces_spanmetrics_latency_bucket{ {{- $own -}} $__tags}[5m])))
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

{{/*
The datasources, as a list of `tenant` (empty: none), `suffix` (of names of objects and of the uid) and `name`: one, or one for each tenant.
Through the guarded door they come with one user, who reads one tenant.
That of the default tenant is the one that has the uid of the values. Parameter: root context.
*/}}
{{- define "tempo-stack.grafana.datasources" -}}
{{- $name := .Values.grafana.datasource.name -}}
{{- $guarded := and .Values.queryProxy.enabled (not .Values.grafana.datasource.url) -}}
{{- $reads := get .Values.queryProxy.tenants .Values.grafana.datasource.basicAuth.user | toString -}}
{{- $list := list -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if and (ne $tenant.datasource false) (or (not $guarded) (eq $id $reads)) -}}
{{- $suffix := ternary "" (printf "-%s" (include "tempo-stack.tenants.slug" $id)) (eq $id $.Values.tenants.default) -}}
{{- $list = append $list (dict "tenant" $id "suffix" $suffix "name" (printf "%s %s" $name $id)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $list = list (dict "tenant" (include "tempo-stack.tenant" .) "suffix" "" "name" $name) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Uid of a datasource, which has 40 characters at most. Parameters: ctx, suffix. */}}
{{- define "tempo-stack.grafana.uid" -}}
{{- $uid := printf "%s%s" .ctx.Values.grafana.datasource.uid .suffix -}}
{{- if gt (len $uid) 40 -}}{{- $uid = printf "%s-%s" (trunc 29 $uid) ($uid | sha256sum | trunc 10) -}}{{- end -}}
{{- $uid -}}
{{- end }}

{{/* A datasource itself, which both kinds of object carry. Parameters: ctx, of (from "tempo-stack.grafana.datasources"). */}}
{{- define "tempo-stack.grafana.entry" -}}
{{- $datasource := .ctx.Values.grafana.datasource -}}
{{- $tenant := .of.tenant -}}
{{- $entry := dict
  "name" .of.name
  "type" "tempo"
  "access" "proxy"
  "url" (include "tempo-stack.grafana.url" .ctx)
  "isDefault" (and $datasource.isDefault (eq .of.suffix ""))
  "editable" $datasource.editable
  "jsonData" (include "tempo-stack.grafana.jsonData" (dict
    "datasource" $datasource
    "tenant" $tenant
    "spanQueries" (include "tempo-stack.grafana.spanQueries" (dict "ctx" .ctx "tenant" $tenant) | fromYaml)) | fromYaml) -}}
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
