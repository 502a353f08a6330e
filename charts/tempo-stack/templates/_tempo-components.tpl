{{/*
Tempo's components: which pods there are. Workloads, claims, Services, budgets and monitors range over this one table.
*/}}

{{/*
The table, as a map by the component's name. Parameter: root context. A row has:
  target    what the program runs, as `-target`; empty: everything (its default)
  label     app.kubernetes.io/component of the pods
  service   app.kubernetes.io/component of the Service that monitors find
  fullname  name of the workload and of what belongs to it
  kind      StatefulSet or Deployment
  strategy  how a Deployment replaces its pods
  replicas  number of pods
  ports     values keys of the ports that its container has (those of "tempo-stack.tempo.ownPorts")
  ring      hash ring that the pods join; empty: none
  volume    what is under /var/tempo: claims (one for each pod), existingClaim or emptyDir
  claims    number of claims that the chart makes
  headless  name of the Service that names the pods; empty: none
  budget    pods that may be away at a time; empty: no disruption budget
  zone      availability zone of the pods; empty: any
*/}}
{{- define "tempo-stack.tempo.components" -}}
{{- $rows := dict -}}
{{- if .Values.tempo.enabled -}}
{{- $rows = dict "tempo" (include "tempo-stack.tempo.components.monolith" . | fromYaml) -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* The row of a Tempo that does everything: one pod, or two mirrors. Parameter: root context. */}}
{{- define "tempo-stack.tempo.components.monolith" -}}
{{- $tempo := .Values.tempo -}}
{{- $volume := ternary (ternary "existingClaim" "claims" (ne $tempo.persistence.existingClaim "")) "emptyDir" $tempo.persistence.enabled -}}
{{- $stateful := ne $volume "emptyDir" -}}
{{- $mirrored := eq "true" (include "tempo-stack.tempo.mirrored" .) -}}
{{- dict
  "target" ""
  "label" "tempo"
  "service" (ternary "tempo-headless" "tempo" $mirrored)
  "fullname" (include "tempo-stack.tempo.fullname" .)
  "kind" (ternary "StatefulSet" "Deployment" $stateful)
  "strategy" "Recreate"
  "replicas" (int $tempo.replicas)
  "ports" (list "http" (ternary "otlpMirror" "otlpGrpc" $mirrored))
  "ring" ""
  "volume" $volume
  "claims" (ternary (ternary 2 1 $mirrored) 0 (eq $volume "claims"))
  "headless" (ternary (include "tempo-stack.tempo.headlessServiceName" .) "" $stateful)
  "budget" (ternary "1" "" $mirrored)
  "zone" ""
  | toYaml -}}
{{- end }}
