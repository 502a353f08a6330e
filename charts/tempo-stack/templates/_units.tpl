{{/*
Conversions. None of them fails: what can't be parsed gives an empty string, and _validate.tpl says what is wrong with it.
*/}}

{{/* Text of a scalar value; a whole number never becomes 1e+06. Parameter: the value. */}}
{{- define "tempo-stack.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end }}

{{/* Seconds of a duration such as 2w, 1d12h, 30m or 5m0s. Parameter: the text. */}}
{{- define "tempo-stack.duration.seconds" -}}
{{- $text := toString . -}}
{{- if and $text (regexMatch "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$" $text) -}}
{{- $units := dict "w" 604800 "d" 86400 "h" 3600 "m" 60 "s" 1 -}}
{{- $seconds := 0 -}}
{{- range regexFindAll "[0-9]+[wdhms]" $text -1 -}}
{{- $unit := substr (int (sub (len .) 1)) (len .) . -}}
{{- $seconds = add $seconds (mul (atoi (trimSuffix $unit .)) (get $units $unit)) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
{{- end }}

{{/* The same duration in the units that Go knows, for example 3d -> 72h and 1d12h30m -> 36h30m. Parameter: the text. */}}
{{- define "tempo-stack.duration.go" -}}
{{- $seconds := include "tempo-stack.duration.seconds" . -}}
{{- if $seconds -}}
{{- $seconds = atoi $seconds -}}
{{- $hours := div $seconds 3600 -}}
{{- $minutes := div (mod $seconds 3600) 60 -}}
{{- $rest := mod $seconds 60 -}}
{{- if $hours }}{{ $hours }}h{{ end -}}
{{- if $minutes }}{{ $minutes }}m{{ end -}}
{{- if or $rest (eq $seconds 0) }}{{ $rest }}s{{ end -}}
{{- end -}}
{{- end }}

{{/* Bytes of a quantity such as 512Mi, 1.5Gi, 2G, 500k or 1073741824. Parameter: the value. */}}
{{- define "tempo-stack.quantity.bytes" -}}
{{- $text := include "tempo-stack.scalar" . -}}
{{- if regexMatch "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$" $text -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text)) | floor | int64 -}}
{{- end -}}
{{- end }}

{{/* Percentage of a number of bytes, rounded down. Parameters: bytes (text), percent. */}}
{{- define "tempo-stack.percent" -}}
{{- if .bytes -}}
{{- div (mul (int64 .bytes) (int64 .percent)) 100 -}}
{{- end -}}
{{- end }}

{{/* A number of bytes as a quantity, rounded up: 12Gi. Parameter: bytes. */}}
{{- define "tempo-stack.gibibytes" -}}
{{- printf "%dGi" (divf (float64 .) 1073741824 | ceil | int64) -}}
{{- end }}

{{/* A number of bytes as a quantity, rounded down: 1024Mi. Parameter: bytes (text). */}}
{{- define "tempo-stack.mebibytes" -}}
{{- printf "%dMi" (div (int64 .) 1048576) -}}
{{- end }}

{{/* Memory limit of a container in bytes; empty when there is none. Parameter: resources (values). */}}
{{- define "tempo-stack.memoryLimit" -}}
{{- $limit := ((. | default dict).limits | default dict).memory -}}
{{- if not (kindIs "invalid" $limit) -}}
{{- include "tempo-stack.quantity.bytes" $limit -}}
{{- end -}}
{{- end }}

{{/* Milliseconds of a duration of Prometheus such as 15s or 1m30s. Parameter: the text. */}}
{{- define "tempo-stack.duration.milliseconds" -}}
{{- $units := dict "h" 3600000 "m" 60000 "s" 1000 "ms" 1 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" (toString .) -1 -}}
{{- $number := regexFind "^[0-9]+" . -}}
{{- $sum = add $sum (mul (int64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}
