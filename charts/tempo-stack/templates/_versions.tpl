{{/*
Which program the configuration is written for.
*/}}

{{/* Version as major.minor.patch; empty when neither text says one. Parameters: version, tag. */}}
{{- define "tempo-stack.version" -}}
{{- $text := toString (default .tag .version) -}}
{{- if regexMatch "^v?[0-9]+\\.[0-9]+(\\.[0-9]+)?([-+_.].*)?$" $text -}}
{{- $version := regexFind "[0-9]+\\.[0-9]+(\\.[0-9]+)?" $text -}}
{{- if regexMatch "^[0-9]+\\.[0-9]+$" $version }}{{ $version = printf "%s.0" $version }}{{ end -}}
{{- $version -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.tempo.version" -}}
{{- include "tempo-stack.version" (dict "version" .Values.tempo.version "tag" .Values.tempo.image.tag) -}}
{{- end }}
{{- define "tempo-stack.otelCollector.version" -}}
{{- include "tempo-stack.version" (dict "version" .Values.otelCollector.version "tag" .Values.otelCollector.image.tag) -}}
{{- end }}

{{/* "true" when Tempo's version satisfies a constraint such as ">=3.0.0". Parameters: ctx, constraint. */}}
{{- define "tempo-stack.tempo.is" -}}
{{- if semverCompare .constraint (default "0.0.0" (include "tempo-stack.tempo.version" .ctx)) -}}true{{- end -}}
{{- end }}

{{/* The same for the Collector. */}}
{{- define "tempo-stack.otelCollector.is" -}}
{{- if semverCompare .constraint (default "0.0.0" (include "tempo-stack.otelCollector.version" .ctx)) -}}true{{- end -}}
{{- end }}
