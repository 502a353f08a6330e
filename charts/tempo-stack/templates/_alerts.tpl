{{/*
The alerts: files/alerts.yaml with the names, windows and thresholds of this release.
*/}}

{{/* What an alert's `when` may name, with "true" where it is so. Parameter: root context. */}}
{{- define "tempo-stack.alerts.conditions" -}}
{{- $tempo := .Values.tempo -}}
{{- $guard := include "tempo-stack.tempo.guardsDisk" . -}}
{{- $kubelet := and $tempo.enabled $tempo.persistence.enabled (not $guard) -}}
{{- dict
  "collector" .Values.otelCollector.enabled
  "tempo" $tempo.enabled
  "direct" (not .Values.otelCollector.enabled)
  "generator" (dig "metricsGenerator" "enabled" false $tempo)
  "canary" .Values.canary.enabled
  "diskGuard" (not (empty $guard))
  "kubeletVolume" $kubelet
  "volume" (or (not (empty $guard)) $kubelet)
  | toYaml -}}
{{- end }}

{{/*
What ${NAME} stands for in files/alerts.yaml. Parameter: root context.
The Service, which the operator makes a label of, tells two releases in one namespace apart: their jobs are the same.
*/}}
{{- define "tempo-stack.alerts.words" -}}
{{- $rule := .Values.prometheusRule -}}
{{- $selector := "namespace=\"%s\",job=\"%s\",service=\"%s\"" -}}
{{- $recorded := "namespace=\"%s\",service=\"%s\"" -}}
{{- $namespace := .Release.Namespace -}}
{{- $tempo := include "tempo-stack.tempo.scrapedService" . -}}
{{- $collector := include "tempo-stack.otelCollector.metricsServiceName" . -}}
{{- $words := dict
  "fullname" (include "tempo-stack.fullname" .)
  "destination" (include "tempo-stack.otelCollector.exporterEndpoint" .)
  "tempoService" $tempo
  "tempo" (printf $selector $namespace "tempo" $tempo)
  "collector" (printf $selector $namespace "otel-collector" $collector)
  "canary" (printf $selector $namespace "canary" (include "tempo-stack.canary.fullname" .))
  "canaryOverdueSeconds" (include "tempo-stack.scalar" (add .Values.canary.periodSeconds .Values.canary.timeoutSeconds | mul 3))
  "tempoRecorded" (printf $recorded $namespace $tempo)
  "collectorRecorded" (printf $recorded $namespace $collector)
  "claim" (include "tempo-stack.alerts.claim" .)
  "window" $rule.rateWindow
  "volumeFullWithinSeconds" (include "tempo-stack.duration.seconds" $rule.thresholds.volumeFullWithin) -}}
{{- range $key, $value := $rule.thresholds -}}
{{- $_ := set $words $key (include "tempo-stack.scalar" $value) -}}
{{- end -}}
{{- toYaml $words -}}
{{- end }}

{{/* Selector of the claims that Tempo's pods write to. Parameter: root context. */}}
{{- define "tempo-stack.alerts.claim" -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $names := list (printf "%s(-zone-[0-9]+)?" (include "tempo-stack.tempo.fullname" .)) -}}
{{- if include "tempo-stack.tempo.onKafka" . -}}
{{- $names = list -}}
{{- range include "tempo-stack.tempo.components" . | fromYaml -}}{{- if .claims -}}{{- $names = append $names .fullname -}}{{- end -}}{{- end -}}
{{- end -}}
{{- printf "namespace=%q,persistentvolumeclaim=~\"data-%s-[0-9]+\"" .Release.Namespace (ternary (first $names | default "") (printf "(%s)" (join "|" $names)) (eq (len $names) 1)) -}}
{{- else -}}
{{- printf "namespace=%q,persistentvolumeclaim=%q" .Release.Namespace (include "tempo-stack.tempo.claimName" .) -}}
{{- end -}}
{{- end }}

{{/* The groups of a PrometheusRule. Parameter: root context. */}}
{{- define "tempo-stack.alerts.groups" -}}
{{- $rule := .Values.prometheusRule -}}
{{- $on := include "tempo-stack.alerts.conditions" . | fromYaml -}}
{{- $words := include "tempo-stack.alerts.words" . | fromYaml -}}
{{- $groups := list -}}
{{- range $group := .Files.Get "files/alerts.yaml" | fromYamlArray -}}
{{- $rules := list -}}
{{- range $group.rules -}}
{{- $expr := include "tempo-stack.alerts.expr" (dict "ctx" $ "expr" .expr) -}}
{{- $named := and .alert (get $rule.without .alert) -}}
{{- if and $expr (get $on $group.when) (get $on (default $group.when .when)) (not $named) -}}
{{- $rules = append $rules (include "tempo-stack.alerts.rule" (dict "values" $rule "rule" . "expr" $expr "words" $words) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- with $rules -}}
{{- $rendered := dict "name" $group.name "rules" . -}}
{{- with $rule.interval -}}{{- $_ := set $rendered "interval" . -}}{{- end -}}
{{- $groups = append $groups $rendered -}}
{{- end -}}
{{- end -}}
{{- toYaml $groups -}}
{{- end }}

{{/* An expression, or the one of those by version that is for this Tempo; empty when none is. Parameters: ctx, expr. */}}
{{- define "tempo-stack.alerts.expr" -}}
{{- if kindIs "map" .expr -}}
{{- range $constraint, $expr := .expr -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" $.ctx "constraint" $constraint) -}}{{- $expr -}}{{- end -}}
{{- end -}}
{{- else -}}
{{- .expr -}}
{{- end -}}
{{- end }}

{{/* A text with the words in it. Parameters: text, words. */}}
{{- define "tempo-stack.alerts.fill" -}}
{{- $text := .text -}}
{{- range $name, $word := .words -}}
{{- $text = replace (printf "${%s}" $name) $word $text -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* A rule as Prometheus reads it. Parameters: values (prometheusRule), rule (of files/alerts.yaml), expr, words. */}}
{{- define "tempo-stack.alerts.rule" -}}
{{- $values := .values -}}
{{- $rule := .rule -}}
{{- $filled := dict -}}
{{- range $key, $text := dict "expr" .expr "summary" $rule.summary "description" $rule.description -}}
{{- with $text -}}{{- $_ := set $filled $key (include "tempo-stack.alerts.fill" (dict "text" . "words" $.words)) -}}{{- end -}}
{{- end -}}
{{- if $rule.record -}}
{{- $rendered := dict "record" $rule.record "expr" $filled.expr -}}
{{- with $rule.service -}}
{{- $_ := set $rendered "labels" (dict "service" (include "tempo-stack.alerts.fill" (dict "text" . "words" $.words))) -}}
{{- end -}}
{{- toYaml $rendered -}}
{{- else -}}
{{- $annotations := omit $filled "expr" -}}
{{- with $values.runbookUrl -}}
{{- $_ := set $annotations "runbook_url" (printf "%s#%s" . (lower $rule.alert)) -}}
{{- end -}}
{{- dict
  "alert" $rule.alert
  "expr" $filled.expr
  "for" (get $values.for $rule.alert | default $values.for.default | default $rule.for)
  "labels" (merge (dict "severity" $rule.severity) $values.alertLabels)
  "annotations" $annotations
  | toYaml -}}
{{- end -}}
{{- end }}
