{{/*
Labels and annotations: those for every object (commonLabels, commonAnnotations), an object's own, and the chart's.
The chart's win, because selectors, monitors and restarts count on them.
*/}}

{{/* Parameters: ctx, component, labels (the object's own, optional). */}}
{{- define "tempo-stack.allLabels" -}}
{{- $own := .labels | default dict | deepCopy -}}
{{- $chart := include "tempo-stack.selectorLabels" . | fromYaml -}}
{{- $all := include "tempo-stack.labels" . | fromYaml -}}
{{- range $key, $value := $own -}}
{{- if not (has $key (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of")) -}}{{- $_ := set $all $key $value -}}{{- end -}}
{{- end -}}
{{- toYaml (merge $chart $all) -}}
{{- end }}

{{/* Empty when there are none. Parameters: ctx, annotations (the object's own, optional), needed (the chart's, optional). */}}
{{- define "tempo-stack.allAnnotations" -}}
{{- $all := dict -}}
{{- range list .ctx.Values.commonAnnotations .annotations .needed -}}
{{- range $key, $value := . -}}{{- $_ := set $all $key $value -}}{{- end -}}
{{- end -}}
{{- if $all -}}{{- toYaml $all -}}{{- end -}}
{{- end }}

{{/* Both blocks of an object's metadata. Parameters: those of the two above. */}}
{{- define "tempo-stack.metadata" -}}
labels:
  {{- include "tempo-stack.allLabels" . | nindent 2 }}
{{- with include "tempo-stack.allAnnotations" . }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
