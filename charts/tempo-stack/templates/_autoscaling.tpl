{{/*
Autoscalers, which both components' workloads can have: the Collector's, and those of Tempo's parts that keep nothing.
*/}}

{{/* A HorizontalPodAutoscaler by CPU. Parameters: ctx, component (label), kind and name of the workload, autoscaling (values). */}}
{{- define "tempo-stack.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  namespace: {{ .ctx.Release.Namespace | quote }}
  {{- include "tempo-stack.metadata" (dict "ctx" .ctx "component" .component) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ .kind }}
    name: {{ .name }}
  minReplicas: {{ int .autoscaling.minReplicas }}
  maxReplicas: {{ int .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int .autoscaling.targetCPUUtilizationPercentage }}
  {{- with .autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Pods at most: what `replicas` asks for, or what the autoscaler may ask for. 1 when another controller sets the number. Parameter: values with both. */}}
{{- define "tempo-stack.maxReplicas" -}}
{{- if dig "autoscaling" "enabled" false . -}}
{{- int .autoscaling.maxReplicas -}}
{{- else if kindIs "invalid" .replicas -}}
1
{{- else -}}
{{- int .replicas -}}
{{- end -}}
{{- end }}

{{/* What is wrong with an autoscaler that is on. Parameters: key (of the values), values (with autoscaling and resources). */}}
{{- define "tempo-stack.autoscaling.problems" -}}
{{- $least := int .values.autoscaling.minReplicas -}}
{{- $most := int .values.autoscaling.maxReplicas -}}
{{- if gt $least $most }}
{{ .key }}.autoscaling.minReplicas is {{ $least }}: it can't be above maxReplicas ({{ $most }}). Lower it.
{{- end -}}
{{- if kindIs "invalid" (dig "resources" "requests" "cpu" nil .values) }}
{{ .key }}.resources.requests.cpu is not set while {{ .key }}.autoscaling.enabled is true: the autoscaler's target is a percentage of the request. Set the request, or switch the autoscaler off.
{{- end -}}
{{- end }}
