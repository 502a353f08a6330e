{{/*
Grafana's dashboards, from files/dashboards; "How a dashboard is written" stands in files/dashboards/traces.yaml.
*/}}

{{/* Names of the dashboards of this release, as a list: "traces" shows what Tempo makes of spans, so only where it does. */}}
{{- define "tempo-stack.dashboards.list" -}}
- stack
{{- if include "tempo-stack.tempo.generatesMetrics" . }}
- traces
{{- end }}
{{- end }}

{{/* Identity of a dashboard inside Grafana, in which several releases may be. Parameters: ctx, name. */}}
{{- define "tempo-stack.dashboards.uid" -}}
{{- printf "%s-%s" .name (printf "%s/%s" .ctx.Release.Namespace (include "tempo-stack.fullname" .ctx) | sha256sum | trunc 12) -}}
{{- end }}

{{/* What stands for the <names> in queries, as a map; empty where this release has no such thing. Parameter: root context. */}}
{{- define "tempo-stack.dashboards.names" -}}
{{- /* The targets are those of the alerts. */ -}}
{{- $words := include "tempo-stack.alerts.words" . | fromYaml -}}
{{- $tempo := ternary $words.tempo "" .Values.tempo.enabled -}}
{{- $collector := ternary $words.collector "" .Values.otelCollector.enabled -}}
{{- $names := dict
  "tempo" $tempo
  "tempo.memoryLimit" (include "tempo-stack.memoryLimit" .Values.tempo.resources)
  "tempo.container" (printf "namespace=%q,container=\"tempo\",pod=~\"%s-.+\"" .Release.Namespace (include "tempo-stack.tempo.fullname" .))
  "volume" (ternary $tempo "" (eq "true" (include "tempo-stack.tempo.guardsDisk" .)))
  "collector" $collector
  "collector.memoryLimit" (include "tempo-stack.memoryLimit" .Values.otelCollector.resources)
  "collector.container" (printf "namespace=%q,container=\"otel-collector\",pod=~\"%s-.+\"" .Release.Namespace (include "tempo-stack.otelCollector.fullname" .))
  "collector.claims" (printf "namespace=%q,persistentvolumeclaim=~\"queue-%s-[0-9]+\"" .Release.Namespace (include "tempo-stack.otelCollector.fullname" .))
  "canary" (ternary $words.canary "" .Values.canary.enabled)
  "entry" "service=~\"$service\",span_kind=~\"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER\"" -}}
{{- range $name, $_ := $names -}}
{{- if or (and (hasPrefix "tempo." $name) (not $tempo)) (and (hasPrefix "collector." $name) (not $collector)) -}}{{- $_ := set $names $name "" -}}{{- end -}}
{{- end -}}
{{- if not (include "tempo-stack.otelCollector.stateful" .) -}}{{- $_ := set $names "collector.claims" "" -}}{{- end -}}
{{- toYaml $names -}}
{{- end }}

{{/* "true" when a panel or a query is for these versions and values. Parameters: ctx, of (the panel or query). */}}
{{- define "tempo-stack.dashboards.fits" -}}
{{- $tempo := or (not .of.tempo) (include "tempo-stack.tempo.is" (dict "ctx" .ctx "constraint" .of.tempo)) -}}
{{- $collector := or (not .of.otelCollector) (include "tempo-stack.otelCollector.is" (dict "ctx" .ctx "constraint" .of.otelCollector)) -}}
{{- $on := or (not .of.when) (get .ctx.Values.tempo.metricsGenerator .of.when | default dict).enabled -}}
{{- if and $tempo $collector $on -}}true{{- end -}}
{{- end }}

{{/* A text with its <names> filled in; empty when one of them is. Parameters: text, names. */}}
{{- define "tempo-stack.dashboards.fill" -}}
{{- $text := .text -}}
{{- range $name, $value := .names -}}
{{- $mark := printf "<%s>" $name -}}
{{- if contains $mark $text -}}{{- $text = ternary (replace $mark $value $text) "" (ne $value "") -}}{{- end -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* The queries of a panel as Grafana's targets, with the labels of their columns. Parameters: ctx, panel, names. */}}
{{- define "tempo-stack.dashboards.targets" -}}
{{- $ctx := .ctx -}}
{{- $panel := .panel -}}
{{- $names := .names -}}
{{- $targets := list -}}
{{- range $query := $panel.queries -}}
{{- $target := dict "refId" (len $targets | add 65 | printf "%c") -}}
{{- $uid := $ctx.Values.grafana.datasource.uid -}}
{{- if hasKey $query "traceql" -}}
{{- $_ := merge $target (dict "datasource" (dict "type" "tempo" "uid" $uid) "queryType" "traceql" "query" $query.traceql "tableType" "traces" "limit" 20) -}}
{{- else if hasKey $query "serviceMap" -}}
{{- $_ := merge $target (dict "datasource" (dict "type" "tempo" "uid" $uid) "queryType" "serviceMap" "serviceMapQuery" $query.serviceMap) -}}
{{- else -}}
{{- $expr := $query.expr -}}
{{- with $query.zeroWhileUp -}}
{{- $zero := printf "0 * max(up{%s} == 1)" . -}}
{{- with $query.zeroLabel -}}{{- $zero = printf "label_replace(%s, %q, \"none\", \"\", \"\")" $zero . -}}{{- end -}}
{{- $expr = printf "%s or on() %s" $expr $zero -}}
{{- end -}}
{{- $table := eq (default "timeseries" $panel.type) "table" -}}
{{- $_ := merge $target (dict
  "datasource" (dict "type" "prometheus" "uid" $ctx.Values.grafana.dashboards.datasourceUid)
  "expr" (include "tempo-stack.dashboards.fill" (dict "text" $expr "names" $names))
  "legendFormat" $query.legend
  "instant" $table
  "range" (not $table)
  "format" (ternary "table" "time_series" $table)
  "exemplar" (default false $panel.exemplars)) -}}
{{- with $panel.source -}}{{- $_ := set $target "source" . -}}{{- end -}}
{{- end -}}
{{- $empty := and (hasKey $target "expr") (not $target.expr) -}}
{{- if and (not $empty) (include "tempo-stack.dashboards.fits" (dict "ctx" $ctx "of" $query)) -}}{{- $targets = append $targets $target -}}{{- end -}}
{{- end -}}
{{- toYaml $targets -}}
{{- end }}

{{/*
What a table makes of its queries: one row for each set of labels, one column for each query.
Parameters: panel, targets. Prints a map of the panel's fields.
*/}}
{{- define "tempo-stack.dashboards.table" -}}
{{- $units := dict -}}
{{- range .panel.queries -}}{{- $_ := set $units .legend .unit -}}{{- end -}}
{{- $columns := dict -}}
{{- $overrides := list -}}
{{- range .targets -}}
{{- $_ := set $columns (printf "Value #%s" .refId) .legendFormat -}}
{{- $unit := dict "id" "unit" "value" (get $units .legendFormat) -}}
{{- $overrides = append $overrides (dict "matcher" (dict "id" "byName" "options" .legendFormat) "properties" (list $unit)) -}}
{{- end -}}
{{- toYaml (dict
  "transformations" (list (dict "id" "merge" "options" dict) (dict "id" "organize" "options" (dict "excludeByName" (dict "Time" true) "renameByName" $columns)))
  "overrides" $overrides) -}}
{{- end }}

{{/* Link from a row of routes to its traces in Grafana's Explore. Parameter: root context. */}}
{{- define "tempo-stack.dashboards.routeLink" -}}
{{- $uid := .Values.grafana.datasource.uid -}}
{{- $query := dict "refId" "A" "datasource" (dict "type" "tempo" "uid" $uid) "queryType" "traceql" "query" "{ resource.service.name = \"__SERVICE__\" && name = \"__ROUTE__\" }" -}}
{{- $panes := dict "a" (dict "datasource" $uid "queries" (list $query) "range" (dict "from" "__FROM__" "to" "__TO__")) -}}
{{- /* Grafana fills in ${…} as it stands, so these are put in after the rest was encoded. */ -}}
{{- $text := $panes | toRawJson | urlquery -}}
{{- range $mark, $field := dict "__SERVICE__" "${__data.fields.service}" "__ROUTE__" "${__data.fields.span_name}" "__FROM__" "${__from}" "__TO__" "${__to}" -}}
{{- $text = replace $mark $field $text -}}
{{- end -}}
{{- printf "/explore?schemaVersion=1&panes=%s" $text -}}
{{- end }}

{{/* A panel as Grafana wants it, without id and position. Parameters: ctx, panel, targets. */}}
{{- define "tempo-stack.dashboards.panel" -}}
{{- $panel := .panel -}}
{{- $type := default "timeseries" $panel.type -}}
{{- $defaults := dict -}}
{{- with $panel.unit -}}{{- $defaults = dict "unit" . "min" 0 -}}{{- end -}}
{{- with $panel.max -}}{{- $_ := set $defaults "max" . -}}{{- end -}}
{{- $field := dict "defaults" $defaults "overrides" list -}}
{{- $json := dict
  "type" $type
  "title" $panel.title
  "description" $panel.description
  "datasource" (index .targets 0).datasource
  "fieldConfig" $field
  "targets" .targets -}}
{{- if eq $type "timeseries" -}}
{{- $_ := set $defaults "custom" (dict "fillOpacity" 10 "showPoints" "never") -}}
{{- $_ := set $json "options" (dict
  "legend" (dict "showLegend" true "displayMode" "list" "placement" "bottom" "calcs" list)
  "tooltip" (dict "mode" "multi" "sort" "desc")) -}}
{{- else if eq $type "stat" -}}
{{- $_ := set $json "options" (dict "colorMode" "none" "graphMode" "none" "reduceOptions" (dict "calcs" (list "lastNotNull") "fields" "" "values" false)) -}}
{{- else if eq $type "table" -}}
{{- if (index .targets 0).expr -}}
{{- $table := include "tempo-stack.dashboards.table" . | fromYaml -}}
{{- $_ := set $json "transformations" $table.transformations -}}
{{- $_ := set $field "overrides" $table.overrides -}}
{{- end -}}
{{- with $panel.sortBy -}}{{- $_ := set $json "options" (dict "sortBy" (list (dict "displayName" . "desc" true))) -}}{{- end -}}
{{- if $panel.links -}}
{{- $_ := set $defaults "links" (list (dict "title" "Traces of this route" "url" (include "tempo-stack.dashboards.routeLink" .ctx) "targetBlank" false)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $json -}}
{{- end }}

{{/* Rows and panels in their places, which nothing overlaps. Parameters: ctx, source (the dashboard's file). */}}
{{- define "tempo-stack.dashboards.panels" -}}
{{- $ctx := .ctx -}}
{{- $names := include "tempo-stack.dashboards.names" .ctx | fromYaml -}}
{{- $panels := list -}}
{{- $y := 0 -}}
{{- range $row := .source.rows -}}
{{- $x := 0 -}}
{{- $lineHeight := 0 -}}
{{- $placed := list -}}
{{- $top := add $y 1 -}}
{{- range $panel := $row.panels -}}
{{- $targets := include "tempo-stack.dashboards.targets" (dict "ctx" $ctx "panel" $panel "names" $names) | fromYamlArray -}}
{{- if and $targets (include "tempo-stack.dashboards.fits" (dict "ctx" $ctx "of" $panel)) -}}
{{- $width := int $panel.width -}}
{{- $height := int (default 8 $panel.height) -}}
{{- if gt (add $x $width) 24 -}}
{{- $top = add $top $lineHeight -}}
{{- $x = 0 -}}
{{- $lineHeight = 0 -}}
{{- end -}}
{{- $json := include "tempo-stack.dashboards.panel" (dict "ctx" $ctx "panel" $panel "targets" $targets) | fromYaml -}}
{{- $_ := set $json "gridPos" (dict "x" $x "y" $top "w" $width "h" $height) -}}
{{- $placed = append $placed $json -}}
{{- $x = add $x $width -}}
{{- $lineHeight = max $lineHeight $height -}}
{{- end -}}
{{- end -}}
{{- if $placed -}}
{{- $panels = append $panels (dict "type" "row" "title" $row.title "collapsed" false "panels" list "gridPos" (dict "x" 0 "y" $y "w" 24 "h" 1)) -}}
{{- $panels = concat $panels $placed -}}
{{- $y = add $top $lineHeight -}}
{{- end -}}
{{- end -}}
{{- range $index, $panel := $panels -}}{{- $_ := set $panel "id" (add1 $index) -}}{{- end -}}
{{- toYaml $panels -}}
{{- end }}

{{/* Variables of a dashboard: the values of a label, or a text. Parameters: ctx, source. */}}
{{- define "tempo-stack.dashboards.variables" -}}
{{- $list := list -}}
{{- $datasource := dict "type" "prometheus" "uid" .ctx.Values.grafana.dashboards.datasourceUid -}}
{{- range .source.variables -}}
{{- $variable := dict "name" .name "label" .label "description" .description "hide" 0 -}}
{{- if .query -}}
{{- $_ := merge $variable (dict
  "type" "query" "datasource" $datasource "definition" .query "query" (dict "query" .query "refId" "A")
  "refresh" 2 "sort" 1 "multi" true "includeAll" true "allValue" ".+" "current" (dict "text" "All" "value" "$__all")) -}}
{{- else -}}
{{- $_ := merge $variable (dict "type" "textbox" "query" .text "current" (dict "text" .text "value" .text)) -}}
{{- end -}}
{{- $list = append $list $variable -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* The JSON of a dashboard, one line for each panel. Parameters: ctx, name. */}}
{{- define "tempo-stack.dashboards.json" -}}
{{- $source := .ctx.Files.Get (printf "files/dashboards/%s.yaml" .name) | fromYaml -}}
{{- $shared := dict "ctx" .ctx "source" $source -}}
{{- $board := dict
  "uid" (include "tempo-stack.dashboards.uid" .)
  "title" (printf "%s (%s/%s)" $source.title .ctx.Release.Namespace (include "tempo-stack.fullname" .ctx))
  "description" $source.description
  "tags" (list "tempo-stack" "tracing")
  "schemaVersion" 39
  "editable" true
  "graphTooltip" 1
  "refresh" "30s"
  "time" (dict "from" "now-1h" "to" "now")
  "timezone" "browser"
  "annotations" (dict "list" list)
  "templating" (dict "list" (include "tempo-stack.dashboards.variables" $shared | fromYamlArray))
  "links" (list (dict "type" "dashboards" "title" "tempo-stack" "tags" (list "tempo-stack") "asDropdown" true "keepTime" true "includeVars" false "targetBlank" false)) -}}
{{- $lines := list -}}
{{- range include "tempo-stack.dashboards.panels" $shared | fromYamlArray -}}{{- $lines = append $lines (toRawJson .) -}}{{- end -}}
{{- printf "%s,\"panels\":[\n%s\n]}" ($board | toRawJson | trimSuffix "}") (join ",\n" $lines) -}}
{{- end }}
