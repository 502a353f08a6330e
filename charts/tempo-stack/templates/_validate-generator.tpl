{{/* Guards of tempo.traceqlMetrics and tempo.metricsGenerator; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.traceqlRange" -}}
{{- $range := include "tempo-stack.tempo.traceqlRange" . -}}
{{- if .Values.tempo.enabled -}}
{{- if not (has $range (list "off" "recent" "all")) -}}
tempo.traceqlMetrics.range is {{ quote $range }}: not a range that the chart knows. Set it to off, recent or all.
{{- else if and (ne $range "off") (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" "<2.9.0")) -}}
tempo.traceqlMetrics.range is {{ $range }}: Tempo {{ include "tempo-stack.tempo.version" . }} doesn't answer TraceQL metrics as the chart sets them up. Set it to "off", or tempo.image.tag to 2.9.0 or later.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorTargets" -}}
{{- if and (include "tempo-stack.tempo.generatesMetrics" .) (not .Values.tempo.metricsGenerator.remoteWrite) -}}
tempo.metricsGenerator.enabled is true and tempo.metricsGenerator.remoteWrite is empty: the metrics would go nowhere. Name a target, for example {prometheus: {url: "http://prometheus-server.monitoring.svc/api/v1/write"}}.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorProcessors" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- with .Values.tempo.metricsGenerator -}}
{{- if not (or .spanMetrics.enabled .serviceGraphs.enabled) -}}
tempo.metricsGenerator.enabled is true while tempo.metricsGenerator.spanMetrics.enabled and tempo.metricsGenerator.serviceGraphs.enabled are false: there would be no metrics. Switch one of them on, or the generator off.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The list in tempo.config replaces the chart's. */}}
{{- define "tempo-stack.validate.generatorOverrides" -}}
{{- if .Values.tempo.enabled -}}
{{- $config := include "tempo-stack.tempo.config" . | fromYaml -}}
{{- $runs := dig "overrides" "defaults" "metrics_generator" "processors" list $config -}}
{{- $missing := list -}}
{{- range include "tempo-stack.tempo.processors" . | fromYamlArray -}}
{{- if not (has . $runs) -}}{{- $missing = append $missing . -}}{{- end -}}
{{- end -}}
{{- if $missing -}}
tempo.config.overrides.defaults.metrics_generator.processors is {{ toJson $runs }}: {{ join ", " $missing }}, which tempo.metricsGenerator or tempo.traceqlMetrics switch on, would not run. Add what is missing to the list, or remove the list.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names are folders in the pod, and Tempo's names of the targets. */}}
{{- define "tempo-stack.validate.generatorNames" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- range $name, $target := .Values.tempo.metricsGenerator.remoteWrite -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name) }}
tempo.metricsGenerator.remoteWrite has {{ quote $name }}: a target's name holds only a-z, 0-9 and -, for example central-prometheus. Rename it.
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.tempo.metricsGenerator.externalLabels -}}
{{- if not (regexMatch "^[a-zA-Z_][a-zA-Z0-9_]*$" $name) }}
tempo.metricsGenerator.externalLabels has {{ quote $name }}: a label of Prometheus holds only letters, digits and _, and begins with no digit. Rename it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorUrls" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- range $name, $target := .Values.tempo.metricsGenerator.remoteWrite -}}
{{- $url := toString (dig "url" "" $target) -}}
{{- if regexMatch "^[a-z]+://[^/]*@" $url }}
tempo.metricsGenerator.remoteWrite.{{ $name }}.url has credentials before the @: they would stand in clear in a ConfigMap. Put them into a Secret and name that in existingSecret.
{{- else if not (regexMatch "^https?://[^/? ]+[^ ]*$" $url) }}
tempo.metricsGenerator.remoteWrite.{{ $name }}.url is {{ quote $url }}: not the address of a remote write endpoint. Write for example http://prometheus-server.monitoring.svc/api/v1/write.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorCredentials" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- range $name, $target := .Values.tempo.metricsGenerator.remoteWrite -}}
{{- $key := printf "tempo.metricsGenerator.remoteWrite.%s" $name -}}
{{- with $target -}}
{{- if and .passwordKey .tokenKey }}
{{ $key }}.passwordKey is {{ .passwordKey }} and tokenKey is {{ .tokenKey }}: a request carries one of them. Remove the one that the endpoint doesn't ask for.
{{- end -}}
{{- if and (or .passwordKey .tokenKey) (not .existingSecret) }}
{{ $key }}.existingSecret is empty while {{ ternary "passwordKey" "tokenKey" (not (empty .passwordKey)) }} is {{ default .tokenKey .passwordKey }}: it is unclear which Secret has this key. Set existingSecret to the Secret's name.
{{- end -}}
{{- if and .existingSecret (not (or .passwordKey .tokenKey)) }}
{{ $key }}.existingSecret is {{ .existingSecret }} and no key of it is named: nothing of it would be used. Set username and passwordKey, or tokenKey.
{{- end -}}
{{- if and .passwordKey (not .username) }}
{{ $key }}.username is empty while passwordKey is {{ .passwordKey }}: a password needs its user. Set username.
{{- else if and .username (not .passwordKey) }}
{{ $key }}.username is {{ .username }} while passwordKey is empty: the endpoint would be asked without a password. Set existingSecret and passwordKey, or remove username.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorDimensions" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- range $processor := list "spanMetrics" "serviceGraphs" -}}
{{- $seen := list -}}
{{- range (get $.Values.tempo.metricsGenerator $processor).dimensions -}}
{{- if or (not (kindIs "string" .)) (regexMatch "^\\s*$|^(span|resource)?\\." (toString .)) }}
tempo.metricsGenerator.{{ $processor }}.dimensions has {{ toJson . }}: a dimension is the name of an attribute, without the scope that TraceQL puts before it. Write for example http.route.
{{- else if has . $seen }}
tempo.metricsGenerator.{{ $processor }}.dimensions has {{ . }} twice: a series has each label once. Remove one of them.
{{- end -}}
{{- $seen = append $seen . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorBuckets" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- $buckets := .Values.tempo.metricsGenerator.spanMetrics.histogramBuckets -}}
{{- $last := 0.0 -}}
{{- range $buckets -}}
{{- if le (float64 .) $last }}
tempo.metricsGenerator.spanMetrics.histogramBuckets is {{ toJson $buckets }}: {{ . }} is not above {{ $last }}, so its bucket could hold nothing. Write bounds in seconds, ascending, from above 0.
{{- end -}}
{{- $last = float64 . -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.generatorInterval" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- $interval := .Values.tempo.metricsGenerator.collectionInterval -}}
{{- if not (include "tempo-stack.duration.seconds" $interval | int) -}}
tempo.metricsGenerator.collectionInterval is {{ toString $interval | quote }}: no time between two samples. Write for example 15s or 1m.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tempo sends exemplars since 2.9 whatever the target says, and native histograms only since then. */}}
{{- define "tempo-stack.validate.generatorVersion" -}}
{{- if include "tempo-stack.tempo.generatesMetrics" . -}}
{{- $version := include "tempo-stack.tempo.version" . -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" "<2.9.0") -}}
{{- if .Values.tempo.metricsGenerator.nativeHistograms }}
tempo.metricsGenerator.nativeHistograms is true: Tempo {{ $version }} is not known to send them. Set it to false, or tempo.image.tag to 2.9.0 or later.
{{- end -}}
{{- else -}}
{{- range $name, $target := .Values.tempo.metricsGenerator.remoteWrite -}}
{{- if not (dig "exemplars" true $target) }}
tempo.metricsGenerator.remoteWrite.{{ $name }}.exemplars is false: Tempo {{ $version }} sends exemplars to every target, and a Prometheus without exemplar storage leaves them aside. Remove the key.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
