{{/*
Parts of a pod that both components share.
*/}}

{{/*
Seconds that a pod goes on before the stop signal; empty: none. Before 1.30 Kubernetes can't wait without a program in
the image. Parameters: ctx, seconds.
*/}}
{{- define "tempo-stack.stopsAfter" -}}
{{- $seconds := int .seconds -}}
{{- with .ctx -}}
{{- if and (gt $seconds 0) (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- $seconds -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Everything of a pod spec beside containers and volumes.
Parameters: ctx, component (label), values (the component's), fullname, drainSeconds (as text, empty: none),
affinity (where the values give none), spreads ("true" where spreadByZone has an effect), rolls ("true" where a new
revision runs beside the old one), token (true where the pod asks the API server; optional).
*/}}
{{- define "tempo-stack.podSettings" -}}
{{- $component := .component -}}
{{- $ctx := .ctx -}}
{{- $values := .values -}}
serviceAccountName: {{ include "tempo-stack.serviceAccountName" (dict "serviceAccount" $values.serviceAccount "fullname" .fullname) | quote }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
{{- /* Kubernetes counts what runs before the stop signal as well. */}}
terminationGracePeriodSeconds: {{ add (int $values.terminationGracePeriodSeconds) (int .drainSeconds) }}
{{- with ($ctx.Values.global).imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "map" . }}{{ .name | quote }}{{ else }}{{ . | quote }}{{ end }}
  {{- end }}
{{- end }}
{{- with include "tempo-stack.securityContext" (dict "ctx" $ctx "context" $values.podSecurityContext) }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
{{- with pick $values "hostAliases" "dnsPolicy" "dnsConfig" "runtimeClassName" "schedulerName" | include "tempo-stack.filled" }}
{{ . }}
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
{{- with include "tempo-stack.spread" . | fromYamlArray }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod. Parameters: ctx, component, values, checksums (map of name to text that is hashed), labels (the chart's, optional). */}}
{{- define "tempo-stack.podMetadata" -}}
{{- $needed := dict -}}
{{- range $name, $text := .checksums -}}{{- $_ := set $needed (printf "checksum/%s" $name) ($text | sha256sum) -}}{{- end -}}
{{- include "tempo-stack.metadata" (dict "ctx" .ctx "component" .component "labels" (merge (deepCopy (.values.podLabels | default dict)) (.labels | default dict)) "annotations" .values.podAnnotations "needed" $needed) -}}
{{- end }}

{{/* Those entries of a map that are not empty, as YAML; nothing where there are none. Parameter: the map. */}}
{{- define "tempo-stack.filled" -}}
{{- $filled := dict -}}
{{- range $key, $value := . -}}{{- if $value -}}{{- $_ := set $filled $key $value -}}{{- end -}}{{- end -}}
{{- if $filled -}}{{- toYaml $filled -}}{{- end -}}
{{- end }}

{{/* "true" where the platform chooses users and groups: OpenShift, by its API or by value. Parameter: root context. */}}
{{- define "tempo-stack.platformChoosesUser" -}}
{{- $adapt := dig "compatibility" "openshift" "adaptSecurityContext" "auto" (.Values.global | default dict) -}}
{{- if eq $adapt "force" -}}
true
{{- else if and (eq $adapt "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1") -}}
true
{{- end -}}
{{- end }}

{{/* A security context, of a pod or a container; nothing where it is empty. Parameters: ctx, context (values). */}}
{{- define "tempo-stack.securityContext" -}}
{{- $context := .context | default dict -}}
{{- if include "tempo-stack.platformChoosesUser" .ctx -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" "fsGroupChangePolicy" -}}
{{- end -}}
{{- if $context -}}{{- toYaml $context -}}{{- end -}}
{{- end }}

{{/*
Environment of a container as a list: the chart's variables with the user's over them.
A map is sorted by name, but a variable stands behind those that it names as $(NAME), or Kubernetes would not expand them.
A list stays in its order, behind the chart's.
Parameters: values (the component's), memoryPercent (GOMEMLIMIT's part of the memory limit), own (map of name to text or to a map such as valueFrom).
*/}}
{{- define "tempo-stack.env" -}}
{{- $env := deepCopy .own -}}
{{- $percent := .memoryPercent -}}
{{- with include "tempo-stack.memoryLimit" .values.resources -}}
{{- $_ := set $env "GOMEMLIMIT" (include "tempo-stack.percent" (dict "bytes" . "percent" $percent)) -}}
{{- end -}}
{{- $extra := .values.extraEnv | default dict -}}
{{- $behind := list -}}
{{- if kindIs "map" $extra -}}
{{- range $name, $value := $extra -}}{{- $_ := set $env $name $value -}}{{- end -}}
{{- else -}}
{{- range $extra -}}{{- $_ := unset $env .name -}}{{- end -}}
{{- $behind = $extra -}}
{{- end -}}
{{- $entries := dict -}}
{{- range $name, $value := $env -}}
{{- if not (kindIs "map" $value) -}}{{- $value = dict "value" (include "tempo-stack.scalar" $value) -}}{{- end -}}
{{- $_ := set $entries $name (merge (dict "name" $name) $value) -}}
{{- end -}}
{{- toYaml (concat (include "tempo-stack.env.inOrder" $entries | fromYamlArray) $behind) -}}
{{- end }}

{{/*
Variables so that each stands behind those that it names; those that name each other in a circle come last.
Parameter: map of name to entry.
*/}}
{{- define "tempo-stack.env.inOrder" -}}
{{- $waiting := . -}}
{{- $list := list -}}
{{- range until (len .) -}}
{{- range $name := keys $waiting | sortAlpha -}}
{{- $free := true -}}
{{- range regexFindAll "\\$\\([^)]+\\)" (toString (get $waiting $name).value) -1 -}}
{{- $named := trimPrefix "$(" . | trimSuffix ")" -}}
{{- if and (ne $named $name) (hasKey $waiting $named) -}}{{- $free = false -}}{{- end -}}
{{- end -}}
{{- if $free -}}
{{- $list = append $list (get $waiting $name) -}}
{{- $_ := unset $waiting $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := keys $waiting | sortAlpha -}}{{- $list = append $list (get $waiting $name) -}}{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/*
Arguments of a container: the chart's, then the user's.
Parameters: own (list), extra (list, or map of flag to value, a null for a flag without one), dashes.
*/}}
{{- define "tempo-stack.args" -}}
{{- $list := .own -}}
{{- $dashes := .dashes -}}
{{- if kindIs "map" .extra -}}
{{- range $flag, $value := .extra -}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") -}}
{{- $list = append $list (printf "%s%s" $dashes $flag) -}}
{{- else -}}
{{- $list = append $list (printf "%s%s=%s" $dashes $flag (include "tempo-stack.scalar" $value)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- range .extra -}}{{- $list = append $list (include "tempo-stack.scalar" .) -}}{{- end -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* What a user adds to a container: nothing where there is none. Parameters: values (the component's), lifecycle (the chart's, optional). */}}
{{- define "tempo-stack.containerExtras" -}}
{{- $lifecycle := deepCopy (.values.lifecycle | default dict) -}}
{{- range $hook, $handler := .lifecycle -}}
{{- if not (hasKey $lifecycle $hook) -}}{{- $_ := set $lifecycle $hook $handler -}}{{- end -}}
{{- end -}}
{{- include "tempo-stack.filled" (dict "envFrom" .values.extraEnvFrom "lifecycle" $lifecycle) -}}
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

{{/* Volume list of a pod. Parameters: own (list), extra (extraVolumes: a map by name, or a list as in a pod spec). */}}
{{- define "tempo-stack.volumes" -}}
{{- $list := .own -}}
{{- if kindIs "map" .extra -}}
{{- range $name, $volume := .extra -}}
{{- $list = append $list (merge (dict "name" $name) $volume.source) -}}
{{- end -}}
{{- else -}}
{{- $list = concat $list (.extra | default list) -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Mount list of a container. Parameters: own (list), extra (extraVolumes), mounts (extraVolumeMounts, optional). */}}
{{- define "tempo-stack.volumeMounts" -}}
{{- $list := .own -}}
{{- if kindIs "map" .extra -}}
{{- range $name, $volume := .extra -}}
{{- $list = append $list (merge (dict "name" $name) (omit $volume "source")) -}}
{{- end -}}
{{- end -}}
{{- toYaml (concat $list (.mounts | default list)) -}}
{{- end }}

{{/* Timing of a probe. Parameter: the values. */}}
{{- define "tempo-stack.probeTiming" -}}
periodSeconds: {{ int .periodSeconds }}
timeoutSeconds: {{ int .timeoutSeconds }}
failureThreshold: {{ int .failureThreshold }}
{{- end }}
