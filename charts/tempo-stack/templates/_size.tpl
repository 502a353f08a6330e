{{/*
What `size` stands for: values that are left empty are filled in from files/sizes.yaml before anything reads them, so that whatever is set wins.
*/}}

{{/* Fills in, in place, what is empty in the values. Prints nothing. Parameter: root context. */}}
{{- define "tempo-stack.size.fill" -}}
{{- $sizes := .Files.Get "files/sizes.yaml" | fromYaml -}}
{{- $size := get $sizes (.Values.size | default "default" | toString) | default $sizes.default -}}
{{- $tempo := .Values.tempo -}}
{{- range $name, $from := $size.components -}}
{{- $component := get $tempo.components $name | default dict -}}
{{- include "tempo-stack.size.component" (dict "into" $component "from" $from "above" $tempo) -}}
{{- $_ := set $tempo.components $name $component -}}
{{- end -}}
{{- if eq (toString $tempo.persistence.size) "" -}}
{{- $_ := set $tempo.persistence "size" (get $size.volume (ternary "local" "bucket" (eq $tempo.storage.backend "local"))) -}}
{{- /* A volume of the chart's choice has to hold what the size is for. */ -}}
{{- if and $size.spansPerSecond (not $tempo.disk.expectedSpansPerSecond) -}}
{{- $_ := set $tempo.disk "expectedSpansPerSecond" $size.spansPerSecond -}}
{{- end -}}
{{- end -}}
{{- include "tempo-stack.size.empty" (dict "into" $tempo "from" $size.tempo) -}}
{{- include "tempo-stack.size.empty" (dict "into" .Values.otelCollector "from" $size.otelCollector) -}}
{{- end }}

{{/* Fills in what is an empty text, in place; what was taken away with null stays away. Parameters: into, from. */}}
{{- define "tempo-stack.size.empty" -}}
{{- range $key, $value := .from -}}
{{- $old := get $.into $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $old) -}}
{{- include "tempo-stack.size.empty" (dict "into" $old "from" $value) -}}
{{- else if and (hasKey $.into $key) (eq (toString $old) "") -}}
{{- $_ := set $.into $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Fills in what a component lacks where the settings that it shares with the others are empty, too.
Parameters: into (its values), from, above (those that it shares).
*/}}
{{- define "tempo-stack.size.component" -}}
{{- range $key, $value := .from -}}
{{- $above := get $.above $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" $above) -}}
{{- $into := get $.into $key | default dict -}}
{{- include "tempo-stack.size.component" (dict "into" $into "from" $value "above" $above) -}}
{{- if $into -}}{{- $_ := set $.into $key $into -}}{{- end -}}
{{- else if and (hasKey $.above $key) (eq (toString $above) "") (not (hasKey $.into $key)) -}}
{{- $_ := set $.into $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}
