{{/*
Merges one map into another, in place: maps merge, anything else replaces, null deletes the key.
Helm's own merge keeps nulls that a chart doesn't know and can't set a value to false or 0, hence this one.
Parameters: into (changed), from. Prints nothing.
*/}}
{{- define "tempo-stack.config.merge" -}}
{{- $into := .into -}}
{{- range $key, $value := .from -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $into $key -}}
{{- else if kindIs "map" $value -}}
{{- if not (kindIs "map" (get $into $key)) -}}{{- $_ := set $into $key dict -}}{{- end -}}
{{- include "tempo-stack.config.merge" (dict "into" (get $into $key) "from" $value) -}}
{{- else -}}
{{- $_ := set $into $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}
