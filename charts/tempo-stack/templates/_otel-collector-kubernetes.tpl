{{/*
The preset kubernetesAttributes: what the Collector asks the API server for, and the right to do so.
*/}}

{{/* Names of the attributes that spans get of their pod, as a list; nothing while the preset is off. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.presets.kubernetesMetadata" -}}
{{- $preset := .Values.otelCollector.presets.kubernetesAttributes -}}
{{- $names := list -}}
{{- if $preset.enabled -}}
{{- range $name, $on := $preset.attributes -}}{{- if $on -}}{{- $names = append $names $name -}}{{- end -}}{{- end -}}
{{- end -}}
{{- toYaml $names -}}
{{- end }}

{{/* The same with those of labels and annotations. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.presets.kubernetesKeys" -}}
{{- $preset := .Values.otelCollector.presets.kubernetesAttributes -}}
{{- $keys := include "tempo-stack.otelCollector.presets.kubernetesMetadata" . | fromYamlArray -}}
{{- if $preset.enabled -}}
{{- range list $preset.labels $preset.annotations -}}
{{- range $key, $of := . -}}{{- if $of -}}{{- $keys = append $keys $key -}}{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- uniq $keys | sortAlpha | toYaml -}}
{{- end }}

{{/*
The processors, as a map: one that takes out what the application said, and one that looks pods up, for each namespace or for all.
A processor knows the pods of one namespace or of all; one that doesn't know the pod changes nothing.
What the pod and its container are found by stays as it was sent, and so does what an SDK says of its service.
A key may be there twice, of which `resource` would take out the first only.
Until 0.155 a Deployment's name came from its ReplicaSet by request only; otherwise all ReplicaSets are read.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.presets.kubernetes" -}}
{{- $preset := .Values.otelCollector.presets.kubernetesAttributes -}}
{{- $processors := dict -}}
{{- if $preset.enabled -}}
{{- $metadata := include "tempo-stack.otelCollector.presets.kubernetesMetadata" . | fromYamlArray -}}
{{- $extract := dict "metadata" $metadata -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" "<0.155.0") -}}
{{- $_ := set $extract "deployment_name_from_replicaset" true -}}
{{- end -}}
{{- range $kind := list "labels" "annotations" -}}
{{- $rules := list -}}
{{- range $key, $of := get $preset $kind -}}
{{- if $of -}}{{- $rules = append $rules (dict "tag_name" (replace "$" "$$" $key) "key" $of "from" "pod") -}}{{- end -}}
{{- end -}}
{{- if $rules -}}{{- $_ := set $extract $kind $rules -}}{{- end -}}
{{- end -}}
{{- $settings := dict
  "auth_type" "serviceAccount"
  "passthrough" false
  "wait_for_metadata" true
  "extract" $extract
  "pod_association" (list
    (dict "sources" (list (dict "from" "resource_attribute" "name" "k8s.pod.ip")))
    (dict "sources" (list (dict "from" "resource_attribute" "name" "k8s.pod.uid")))
    (dict "sources" (list (dict "from" "connection")))) -}}
{{- if $preset.namespaces -}}
{{- range $preset.namespaces -}}
{{- $_ := set $processors (printf "k8s_attributes/%s" .) (merge (dict "filter" (dict "namespace" .)) (deepCopy $settings)) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $processors "k8s_attributes" $settings -}}
{{- end -}}
{{- if not $preset.keepSent -}}
{{- $keys := list -}}
{{- range include "tempo-stack.otelCollector.presets.kubernetesKeys" . | fromYamlArray -}}
{{- if not (or (hasPrefix "service." .) (has . (list "k8s.pod.ip" "k8s.pod.uid" "k8s.container.name" "container.id"))) -}}
{{- $keys = append $keys (regexQuoteMeta .) -}}
{{- end -}}
{{- end -}}
{{- if $keys -}}
{{- $regex := printf "^(?:%s)$" (join "|" $keys) | include "tempo-stack.ottl.literal" -}}
{{- $_ := set $processors "transform/kubernetes" (dict "error_mode" "propagate" "trace_statements" (list (dict
  "context" "resource" "statements" (list (printf "delete_matching_keys(resource.attributes, %s)" $regex))))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $processors -}}
{{- end }}

{{/*
What has to be read, as rules of a role. A ReplicaSet's owner tells the UID of a Deployment, and a Job's that of a CronJob;
the names of both are in the names of pods. Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.kubernetesRules" -}}
{{- $metadata := include "tempo-stack.otelCollector.presets.kubernetesMetadata" . | fromYamlArray -}}
{{- $core := list "pods" -}}
{{- if has "k8s.node.uid" $metadata -}}{{- $core = append $core "nodes" -}}{{- end -}}
{{- if has "k8s.cluster.uid" $metadata -}}{{- $core = append $core "namespaces" -}}{{- end -}}
{{- $verbs := list "get" "list" "watch" -}}
{{- $rules := list (dict "apiGroups" (list "") "resources" $core "verbs" $verbs) -}}
{{- if has "k8s.deployment.uid" $metadata -}}
{{- $rules = append $rules (dict "apiGroups" (list "apps") "resources" (list "replicasets") "verbs" $verbs) -}}
{{- end -}}
{{- if has "k8s.cronjob.uid" $metadata -}}
{{- $rules = append $rules (dict "apiGroups" (list "batch") "resources" (list "jobs") "verbs" $verbs) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end }}
