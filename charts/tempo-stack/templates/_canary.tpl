{{/*
The test that sends a span and looks for it: what its two runners share, the pod of `helm test` and the canary.
*/}}

{{- define "tempo-stack.canary.fullname" -}}
{{- include "tempo-stack.fullname" . }}-canary
{{- end }}

{{/* The canary's ports, as a map by values key. */}}
{{- define "tempo-stack.canary.ports" -}}
metrics: {name: metrics, port: {{ int .Values.canary.port }}, protocol: TCP, appProtocol: http}
{{- end }}

{{/*
"true" when a span can be sent and looked for: both components, a door for it, a key to the door, and a tenant that the chart knows.
A tenant that only the running Collector knows can't be asked for.
*/}}
{{- define "tempo-stack.test.possible" -}}
{{- $askable := or (include "tempo-stack.tenant" .) (not (include "tempo-stack.tempo.hasTenants" .)) -}}
{{- if and $askable (not (include "tempo-stack.test.lacksKey" .)) .Values.tempo.enabled .Values.otelCollector.enabled (include "tempo-stack.test.way" . | fromYaml).url -}}true{{- end -}}
{{- end }}

{{/* The pod's settings, as "tempo-stack.podSettings" takes them: scheduled and secured as Tempo is, under the namespace's own account. */}}
{{- define "tempo-stack.test.settings" -}}
{{- $settings := pick .Values.tempo "podSecurityContext" "nodeSelector" "tolerations" "affinity" "priorityClassName" "runtimeClassName" "schedulerName" "hostAliases" "dnsPolicy" "dnsConfig" -}}
{{- $_ := set $settings "serviceAccount" (dict "create" false "name" "") -}}
{{- $_ := set $settings "terminationGracePeriodSeconds" 1 -}}
{{- toYaml $settings -}}
{{- end }}

{{/* The script's environment, as a list. Parameters: ctx, timeoutSeconds. */}}
{{- define "tempo-stack.test.env" -}}
{{- $way := include "tempo-stack.test.way" .ctx | fromYaml -}}
- name: COLLECTOR
  value: {{ $way.url | quote }}
- name: TEMPO
  value: {{ include "tempo-stack.tempo.queryUrl" .ctx | quote }}
{{- with include "tempo-stack.tenant" .ctx }}
- name: TENANT
  value: {{ . | quote }}
{{- end }}
- name: TIMEOUT
  value: {{ int .timeoutSeconds | quote }}
{{- if include "tempo-stack.test.guarded" .ctx }}
- name: DOORS
  value: {{ include "tempo-stack.test.doorPath" .ctx }}
- name: AUTH
  value: {{ $way.auth.type }}
{{- end }}
- name: PODS
  value: {{ printf "kubectl get pods --namespace %s --selector app.kubernetes.io/instance=%s" .ctx.Release.Namespace .ctx.Release.Name | quote }}
{{- end }}

{{/* The image of what sends: curl where the Collector asks for more than busybox's wget has. Parameter: root context. */}}
{{- define "tempo-stack.test.image" -}}
{{- $test := .Values.helmTest -}}
{{- $image := $test.image -}}
{{- if include "tempo-stack.test.guarded" . -}}{{- $image = $test.client.image -}}{{- end -}}
image: {{ include "tempo-stack.image" (dict "ctx" . "image" $image) | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{/* The test as a script. */}}
{{- define "tempo-stack.test.script" -}}
{{- if include "tempo-stack.test.guarded" . -}}{{- .Files.Get "files/wget-by-curl.sh" -}}{{- end -}}
{{- .Files.Get "files/send-and-find.sh" -}}
{{- end }}
