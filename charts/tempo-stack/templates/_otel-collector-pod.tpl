{{/* The line `replicas`; nothing when an autoscaler owns the number. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.replicas" -}}
{{- with .Values.otelCollector -}}
{{- if not (or .autoscaling.enabled (kindIs "invalid" .replicas)) -}}
replicas: {{ int .replicas }}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Seconds that a Collector goes on between the removal of its pod and the stop signal; empty: none.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.drainSeconds" -}}
{{- include "tempo-stack.stopsAfter" (dict "ctx" . "seconds" .Values.otelCollector.drainSeconds) -}}
{{- end }}

{{/*
Affinity of the Collector's pods where the values give none: they prefer different hosts, so that one host takes one of them.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.affinity" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "tempo-stack.selectorLabels" (dict "ctx" . "component" "otel-collector") | nindent 12 }}
{{- end }}

{{/*
The Collector's pod, which is the same in the Deployment and the StatefulSet.
Only the queue's volume differs: the StatefulSet brings it as a claim.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.podTemplate" -}}
{{- $collector := merge dict .Values.otelCollector -}}
{{- include "tempo-stack.mirrorValues" (dict "ctx" . "values" $collector) -}}
{{- $env := dict -}}
{{- with include "tempo-stack.otelCollector.gogc" . -}}{{- $_ := set $env "GOGC" . -}}{{- end -}}
{{- $fullname := include "tempo-stack.otelCollector.fullname" . -}}
{{- $drain := include "tempo-stack.otelCollector.drainSeconds" . -}}
{{- $shared := dict "ctx" . "component" "otel-collector" "values" $collector "fullname" $fullname "drainSeconds" $drain
  "token" $collector.presets.kubernetesAttributes.enabled
  "affinity" (include "tempo-stack.otelCollector.affinity" . | fromYaml)
  "spreads" (ternary "" "true" (and (eq (include "tempo-stack.otelCollector.maxReplicas" .) "1") (not (kindIs "invalid" $collector.replicas))))
  "rolls" (ternary "" "true" (eq "true" (include "tempo-stack.otelCollector.stateful" .))) -}}
{{- $checksums := dict "config" (include "tempo-stack.otelCollector.config" .) -}}
metadata:
  {{- include "tempo-stack.podMetadata" (merge (dict "checksums" $checksums) $shared) | nindent 2 }}
spec:
  {{- include "tempo-stack.podSettings" $shared | nindent 2 }}
  {{- with $collector.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: otel-collector
      image: {{ include "tempo-stack.image" (dict "ctx" . "image" $collector.image) | quote }}
      imagePullPolicy: {{ $collector.image.pullPolicy }}
      args:
        {{- include "tempo-stack.args" (dict "own" (list "--config=/etc/otelcol/config.yaml") "extra" $collector.extraArgs "dashes" "--") | nindent 8 }}
      env:
        {{- include "tempo-stack.env" (dict "values" $collector "memoryPercent" 90 "own" $env) | nindent 8 }}
      ports:
        {{- $health := dict "name" "health" "port" $collector.internalPorts.healthCheck "protocol" "TCP" }}
        {{- include "tempo-stack.containerPorts" (include "tempo-stack.otelCollector.ports" . | fromYaml | merge (dict "health" $health)) | nindent 8 }}
      startupProbe:
        httpGet:
          path: /
          port: health
        {{- include "tempo-stack.probeTiming" $collector.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /
          port: health
        {{- include "tempo-stack.probeTiming" $collector.probes.readiness | nindent 8 }}
      # Not the readiness answer: a Collector that is not ready must not be restarted for it.
      livenessProbe:
        tcpSocket:
          port: health
        {{- include "tempo-stack.probeTiming" $collector.probes.liveness | nindent 8 }}
      {{- $lifecycle := dict }}
      {{- with $drain }}
      {{- $lifecycle = dict "preStop" (dict "sleep" (dict "seconds" (int .))) }}
      {{- end }}
      {{- with include "tempo-stack.containerExtras" (dict "values" $collector "lifecycle" $lifecycle) }}
      {{- . | nindent 6 }}
      {{- end }}
      resources:
        {{- include "tempo-stack.resources" (dict "resources" $collector.resources "emptyDirBytes" (include "tempo-stack.otelCollector.queueVolumeBytes" .)) | nindent 8 }}
      {{- with include "tempo-stack.securityContext" (dict "ctx" . "context" $collector.securityContext) }}
      securityContext:
        {{- . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- $mounts := list (dict "name" "config" "mountPath" "/etc/otelcol" "readOnly" true) }}
        {{- $volumes := list (dict "name" "config" "configMap" (dict "name" $fullname)) }}
        {{- if eq $collector.queue.type "file" }}
        {{- $mounts = append $mounts (dict "name" "queue" "mountPath" (include "tempo-stack.otelCollector.queuePath" .)) }}
        {{- with include "tempo-stack.otelCollector.queueVolumeBytes" . }}
        {{- $volumes = append $volumes (dict "name" "queue" "emptyDir" (dict "sizeLimit" .)) }}
        {{- end }}
        {{- end }}
        {{- $doors := include "tempo-stack.otelCollector.doorVolumes" . | fromYaml }}
        {{- $mounts = concat $mounts (include "tempo-stack.secretMounts" (dict "path" (include "tempo-stack.otelCollector.doorPath" .) "volumes" $doors) | fromYamlArray) }}
        {{- range $doors }}{{- $volumes = append $volumes . }}{{- end }}
        {{- include "tempo-stack.volumeMounts" (dict "own" $mounts "extra" $collector.extraVolumes "mounts" $collector.extraVolumeMounts) | nindent 8 }}
    {{- with $collector.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "tempo-stack.volumes" (dict "own" $volumes "extra" $collector.extraVolumes) | nindent 4 }}
{{- end }}
