{{/*
Topology spread constraints of a pod, as a YAML list: those of the values, with the pods' own selector where they have
none, and the one by zone. An autoscaler or an upgrade makes pods beside those that go: only those of one revision count.
Parameters: ctx, component (label), values, spreads and rolls ("true" or "", see "tempo-stack.podSettings").
*/}}
{{- define "tempo-stack.spread" -}}
{{- $selector := dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" .ctx "component" .component) | fromYaml) -}}
{{- $constraints := list -}}
{{- range .values.topologySpreadConstraints -}}
{{- $constraints = append $constraints (ternary . (merge (dict "labelSelector" $selector) .) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- if and .spreads .values.spreadByZone -}}
{{- $zone := dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "labelSelector" $selector -}}
{{- if eq .values.spreadByZone "required" -}}
{{- $zone = merge $zone (dict "whenUnsatisfiable" "DoNotSchedule" "minDomains" 2) -}}
{{- else -}}
{{- $zone = merge $zone (dict "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- if .rolls -}}{{- $_ := set $zone "matchLabelKeys" (list "pod-template-hash") -}}{{- end -}}
{{- $constraints = append $constraints $zone -}}
{{- end -}}
{{- toYaml $constraints -}}
{{- end }}
