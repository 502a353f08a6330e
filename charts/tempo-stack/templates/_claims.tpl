{{/*
Claims of the StatefulSets.
A StatefulSet takes the claim "<volume>-<statefulset>-<ordinal>" that it finds. The chart makes those that the
values ask for beforehand, so that they stay after an uninstall and grow by value: a claim template can't change.
*/}}

{{/*
Claims of a StatefulSet, from ordinal 0.
Parameters: ctx, component, fullname (the StatefulSet's name), volume, count, accessMode, storageClass, size, annotations.
*/}}
{{- define "tempo-stack.claims" -}}
{{- $claim := . -}}
{{- range $ordinal := until (int .count) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ printf "%s-%s-%d" $claim.volume $claim.fullname $ordinal }}
  namespace: {{ $claim.ctx.Release.Namespace | quote }}
  {{- /* What is on it outlives `helm uninstall`. */}}
  {{- include "tempo-stack.metadata" (merge (dict "needed" (dict "helm.sh/resource-policy" "keep")) $claim) | nindent 2 }}
spec:
  accessModes:
    - {{ $claim.accessMode }}
  {{- with include "tempo-stack.storageClass" $claim.storageClass }}
  {{- . | nindent 2 }}
  {{- end }}
  resources:
    requests:
      storage: {{ $claim.size | quote }}
{{- end }}
{{- end }}

{{/*
Claim template of a StatefulSet, for replicas beyond the claims that the chart made.
Its text never depends on a value, because Kubernetes refuses every change of it.
Parameters: volume, storage (a constant).
*/}}
{{- define "tempo-stack.claimTemplate" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: {{ .volume }}
  spec:
    accessModes:
      - ReadWriteOnce
    resources:
      requests:
        storage: {{ .storage }}
{{- end }}

{{/* storageClassName line of a claim. Parameter: the value (empty: none written, "-": no class). */}}
{{- define "tempo-stack.storageClass" -}}
{{- if eq . "-" -}}
storageClassName: ""
{{- else if . -}}
storageClassName: {{ . | quote }}
{{- end -}}
{{- end }}
