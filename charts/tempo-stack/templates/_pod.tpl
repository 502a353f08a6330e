{{/*
Parts of a pod that both components share.
*/}}

{{/*
Everything of a pod spec beside containers and volumes.
Parameters: ctx, component (label), values (the component's), fullname, drainSeconds (as text, empty: none),
affinity (where the values give none).
*/}}
{{- define "tempo-stack.podSettings" -}}
{{- $component := .component -}}
{{- $ctx := .ctx -}}
{{- $values := .values -}}
serviceAccountName: {{ include "tempo-stack.serviceAccountName" (dict "serviceAccount" $values.serviceAccount "fullname" .fullname) | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- /* Kubernetes counts what runs before the stop signal as well. */}}
terminationGracePeriodSeconds: {{ add (int $values.terminationGracePeriodSeconds) (int .drainSeconds) }}
{{- with ($ctx.Values.global).imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with $values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with default .affinity $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
{{- $selector := dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" $ctx "component" $component) | fromYaml) }}
{{- $constraints := list }}
{{- range . }}
{{- $constraints = append $constraints (ternary . (merge (dict "labelSelector" $selector) .) (hasKey . "labelSelector")) }}
{{- end }}
topologySpreadConstraints:
  {{- toYaml $constraints | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod. Parameters: ctx, component, values, checksums (map of name to text that is hashed). */}}
{{- define "tempo-stack.podMetadata" -}}
labels:
  {{- include "tempo-stack.labels" (dict "ctx" .ctx "component" .component) | nindent 2 }}
  {{- with omit (.values.podLabels | default dict) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- range $name, $text := .checksums }}
  checksum/{{ $name }}: {{ $text | sha256sum | quote }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/*
Environment of a container as a list: the chart's variables with the user's over them.
Parameters: values (the component's), memoryPercent (GOMEMLIMIT's part of the memory limit), own (map of name to text or to a map such as valueFrom).
*/}}
{{- define "tempo-stack.env" -}}
{{- $env := deepCopy .own -}}
{{- $percent := .memoryPercent -}}
{{- with include "tempo-stack.memoryLimit" .values.resources -}}
{{- $_ := set $env "GOMEMLIMIT" (include "tempo-stack.percent" (dict "bytes" . "percent" $percent)) -}}
{{- end -}}
{{- range $name, $value := .values.extraEnv -}}{{- $_ := set $env $name $value -}}{{- end -}}
{{- $list := list -}}
{{- range $name, $value := $env -}}
{{- if not (kindIs "map" $value) -}}{{- $value = dict "value" (include "tempo-stack.scalar" $value) -}}{{- end -}}
{{- $list = append $list (merge (dict "name" $name) $value) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/*
Requests and limits of a container.
What the pod's emptyDirs may hold counts as ephemeral storage, and so do logs, for which 64Mi are reserved and 256Mi allowed;
a value that the user gives stays. All of it is reserved: a node that runs out of disk evicts first who uses more than it asked for.
Parameters: resources (values), emptyDirBytes (text, empty: no emptyDir).
*/}}
{{- define "tempo-stack.resources" -}}
{{- $resources := deepCopy (.resources | default dict) -}}
{{- $storage := dict
  "requests" (dict "ephemeral-storage" (add (int64 (default 0 .emptyDirBytes)) 67108864 | toString))
  "limits" (dict "ephemeral-storage" (add (int64 (default 0 .emptyDirBytes)) 268435456 | toString)) -}}
{{- toYaml (merge $resources $storage) -}}
{{- end }}

{{/* Volume list of a pod. Parameters: own (list), extra (extraVolumes). */}}
{{- define "tempo-stack.volumes" -}}
{{- $list := .own -}}
{{- range $name, $volume := .extra -}}
{{- $list = append $list (merge (dict "name" $name) $volume.source) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Mount list of a container. Parameters: own (list), extra (extraVolumes). */}}
{{- define "tempo-stack.volumeMounts" -}}
{{- $list := .own -}}
{{- range $name, $volume := .extra -}}
{{- $list = append $list (merge (dict "name" $name) (omit $volume "source")) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Timing of a probe. Parameter: the values. */}}
{{- define "tempo-stack.probeTiming" -}}
periodSeconds: {{ int .periodSeconds }}
timeoutSeconds: {{ int .timeoutSeconds }}
failureThreshold: {{ int .failureThreshold }}
{{- end }}
