{{/*
The keys that the chart knows, from files/known-values.yaml.
*/}}

{{/*
What comes before everything else: refuses keys that the chart doesn't know, and fills in those that are missing,
because `helm upgrade --reuse-values` brings the values of a version that did not have them, and because a null takes away a default.
Helm renders deeper folders first, so the template of the test calls it before any other runs; the values that it fills are the ones that all templates read.
Prints nothing. Parameter: root context.
*/}}
{{- define "tempo-stack.prepare" -}}
{{- with include "tempo-stack.validate.keys" . | trim -}}
{{- fail (printf "these values can't work:\n  - %s\n" (splitList "\n" . | compact | join "\n  - ")) -}}
{{- end -}}
{{- $known := .Files.Get "files/known-values.yaml" | fromYaml -}}
{{- include "tempo-stack.keys.fill" (dict "into" .Values "from" $known.defaults "path" "" "optional" $known.optional) -}}
{{- include "tempo-stack.size.fill" . -}}
{{- end }}

{{/* Fills in missing keys, in place. Parameters: into, from (defaults), path (of both), optional (paths that may be missing). */}}
{{- define "tempo-stack.keys.fill" -}}
{{- range $key, $default := .from -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- if has $path $.optional -}}
{{- else if kindIs "invalid" (index $.into $key) -}}
{{- $_ := set $.into $key (deepCopy $default) -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (get $.into $key)) -}}
{{- include "tempo-stack.keys.fill" (dict "into" (get $.into $key) "from" $default "path" $path "optional" $.optional) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
One line for each key that the chart doesn't know, with what was probably meant.
Parameters: values, known (defaults), path (of both), table (files/known-values.yaml), peers (files/peer-keys.yaml), above (prefix of the paths that people write).
*/}}
{{- define "tempo-stack.keys.unknown" -}}
{{- range $key, $value := .values -}}
{{- $path := list $.path $key | compact | join "." -}}
{{- $shared := and (eq $.path "") (or (has $key (list "global" "enabled" "tags")) (hasPrefix "x-" $key)) -}}
{{- if $shared -}}
{{- else if not (hasKey $.known $key) }}
{{ $.above }}{{ $path }} is not a value of this chart. {{ include "tempo-stack.keys.meant" (dict "key" $key "path" $path "known" $.known "table" $.table "peers" $.peers "above" $.above) }}
{{- else -}}
{{- $default := get $.known $key -}}
{{- $open := has $path $.table.open -}}
{{- if and (kindIs "map" $default) $default -}}
{{- if kindIs "map" $value }}
{{- /* An open map takes any key; of those in it, only the closed maps are looked at. */ -}}
{{- $inner := dict -}}
{{- range $name, $of := $value -}}{{- if or (not $open) (has (printf "%s.%s" $path $name) $.table.closed) -}}{{- $_ := set $inner $name $of -}}{{- end -}}{{- end }}
{{ include "tempo-stack.keys.unknown" (dict "values" $inner "known" $default "path" $path "table" $.table "peers" $.peers "above" $.above) | trim }}
{{- else if not (or $open (kindIs "invalid" $value)) }}
{{ $.above }}{{ $path }} is {{ toJson $value }}, where this chart has the keys {{ keys $default | sortAlpha | join ", " }}. {{ include "tempo-stack.keys.peer" (dict "path" $path "peers" $.peers "above" $.above) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What a path of another chart is here; empty when that isn't known. Parameters: path, peers, above. */}}
{{- define "tempo-stack.keys.peer" -}}
{{- with get .peers.here .path -}}
Set {{ $.above }}{{ . }} instead.
{{- else with get .peers.none .path -}}
{{ . }}
{{- end -}}
{{- end }}

{{/*
What was meant by an unknown key: what another chart calls so, the nearest key beside it, the same key elsewhere, or else what there is.
Parameters: those of "tempo-stack.keys.unknown", key.
*/}}
{{- define "tempo-stack.keys.meant" -}}
{{- $above := .above -}}
{{- $section := trimSuffix .key .path -}}
{{- $nearest := "" -}}
{{- $least := add 1 (div (len .key) 3) | int -}}
{{- range $candidate := keys .known | sortAlpha -}}
{{- $distance := include "tempo-stack.keys.distance" (dict "a" (lower $.key) "b" (lower $candidate)) | int -}}
{{- if or (lt $distance $least) (and (eq $distance $least) (not $nearest)) -}}
{{- $nearest = $candidate -}}
{{- $least = $distance -}}
{{- end -}}
{{- end -}}
{{- $elsewhere := list -}}
{{- range include "tempo-stack.keys.paths" (dict "known" .table.defaults "path" "") | trim | splitList "\n" -}}
{{- if hasSuffix (printf ".%s" $.key | lower) (lower .) -}}{{- $elsewhere = append $elsewhere (printf "%s%s" $above .) -}}{{- end -}}
{{- end -}}
{{- $peer := include "tempo-stack.keys.peer" (dict "path" .path "peers" .peers "above" $above) -}}
{{- if $peer -}}
{{ $peer }}
{{- else if $nearest -}}
Did you mean {{ $above }}{{ $section }}{{ $nearest }}?
{{- else if $elsewhere -}}
Did you mean {{ $elsewhere | join " or " }}?
{{- else -}}
{{ with trimSuffix "." $section }}Below {{ $above }}{{ . }}{{ else }}At the top{{ end }} there are {{ keys .known | sortAlpha | join ", " }}.
{{- end -}}
{{- end }}

{{/* Every path, a line each. Parameters: known (defaults), path. */}}
{{- define "tempo-stack.keys.paths" -}}
{{- range $key, $default := .known -}}
{{- $path := list $.path $key | compact | join "." }}
{{ $path }}
{{- if kindIs "map" $default }}
{{- include "tempo-stack.keys.paths" (dict "known" $default "path" $path) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Number of letters to insert, remove or replace to make one text of another (Levenshtein). Parameters: a, b. */}}
{{- define "tempo-stack.keys.distance" -}}
{{- $b := splitList "" .b -}}
{{- $row := list 0 -}}
{{- range $j, $_ := $b -}}{{- $row = append $row (add1 $j) -}}{{- end -}}
{{- range $i, $letter := splitList "" .a -}}
{{- $next := list (add1 $i) -}}
{{- range $j, $other := $b -}}
{{- $replaced := add (index $row $j) (ternary 0 1 (eq $letter $other)) -}}
{{- $next = append $next (min (add1 (index $row (int (add1 $j)))) (add1 (last $next)) $replaced) -}}
{{- end -}}
{{- $row = $next -}}
{{- end -}}
{{- last $row -}}
{{- end }}
