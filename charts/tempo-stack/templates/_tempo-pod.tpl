{{/*
What the containers beside Tempo have in common that run a script: the image with a shell, resources and rights.
Parameters: ctx, name, scripts (files in files/, one behind the other).
*/}}
{{- define "tempo-stack.tempo.shellContainer" -}}
{{- $tempo := .ctx.Values.tempo -}}
name: {{ .name }}
image: {{ include "tempo-stack.image" (dict "ctx" .ctx "image" $tempo.shellImage) | quote }}
imagePullPolicy: {{ $tempo.shellImage.pullPolicy }}
command:
  - /bin/sh
  - -c
args:
  - |
    {{- range .scripts }}
    {{- $.ctx.Files.Get (printf "files/%s" .) | nindent 4 }}
    {{- end }}
resources:
  requests:
    cpu: 10m
    memory: 16Mi
    ephemeral-storage: 8Mi
  limits:
    memory: 64Mi
    ephemeral-storage: 64Mi
{{- with include "tempo-stack.securityContext" (dict "ctx" .ctx "context" $tempo.securityContext) }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{/* "true" when the pod looks for a log that its Tempo would leave behind: with an emptyDir there is none. Parameters: ctx, component (row). */}}
{{- define "tempo-stack.tempo.checksLog" -}}
{{- if and (ne .component.volume "emptyDir") .ctx.Values.tempo.logCheck.enabled -}}true{{- end -}}
{{- end }}

{{/* The container that looks, before Tempo starts. Parameter: root context. */}}
{{- define "tempo-stack.tempo.logCheck" -}}
{{- $tempo := .Values.tempo -}}
{{- $logs := dict
  "2.x" (dict "path" (include "tempo-stack.tempo.log.v2" .) "flush" (printf "POST %s/flush" (include "tempo-stack.tempo.queryUrl" .)))
  "3.x" (dict "path" (include "tempo-stack.tempo.log.v3" .) "flush" "it does so by itself within minutes") -}}
{{- $engine := ternary "3.x" "2.x" (eq "true" (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=3.0.0"))) -}}
{{- $others := omit $logs $engine -}}
{{- if include "tempo-stack.tempo.onKafka" . -}}
{{- $engine = "3.x over Kafka" -}}
{{- $others = $logs -}}
{{- end -}}
{{- $paths := list -}}
{{- $ways := list -}}
{{- range $version, $log := $others -}}
{{- $paths = append $paths $log.path -}}
{{- $ways = append $ways (ternary $log.flush (printf "%s: %s" $version $log.flush) (eq (len $others) 1)) -}}
{{- end -}}
- {{ include "tempo-stack.tempo.shellContainer" (dict "ctx" . "name" "check-log" "scripts" (list "check-log.sh")) | nindent 2 | trim }}
  env:
    - name: ENGINE
      value: {{ $engine }}
    - name: OTHER_LOGS
      value: {{ join " " $paths }}
    - name: FLUSH
      value: {{ join "; " $ways | toYaml }}
    - name: ACCEPT
      value: {{ $tempo.acceptWalLoss | quote }}
  volumeMounts:
    - name: data
      mountPath: {{ include "tempo-stack.tempo.dataPath" . }}
      readOnly: true
{{- end }}

{{/*
The pod of a component, which is the same in a StatefulSet and a Deployment.
Only the volume differs: the StatefulSet brings it as a claim, unless the values name another one.
Parameters: ctx (root context), component (row), config (the file that Tempo reads).
*/}}
{{- define "tempo-stack.tempo.podTemplate" -}}
{{- $ctx := .ctx -}}
{{- $component := .component -}}
{{- $tempo := dict -}}
{{- include "tempo-stack.tempo.component.values" (dict "ctx" $ctx "key" $component.key "into" $tempo) -}}
{{- $mirrored := include "tempo-stack.tempo.mirrored" $ctx -}}
{{- $args := list "-config.file=/etc/tempo/tempo.yaml" -}}
{{- $env := merge (include "tempo-stack.tempo.storage.env" $ctx | fromYaml) (include "tempo-stack.tempo.mirrorEnv" $ctx | fromYaml) -}}
{{- $credentials := list -}}
{{- if has $component.target (list "" "metrics-generator") -}}{{- $credentials = include "tempo-stack.tempo.remoteWrite.volumes" $ctx | fromYamlArray -}}{{- end -}}
{{- $probePort := (get (include "tempo-stack.tempo.knownPorts" $ctx | fromYaml) $component.monitor).name -}}
{{- $fullname := include "tempo-stack.tempo.fullname" $ctx -}}
{{- $stopsAfter := include "tempo-stack.stopsAfter" (dict "ctx" $ctx "seconds" $component.stopsAfter) -}}
{{- $shared := dict "ctx" $ctx "component" $component.label "values" $tempo "fullname" $fullname "drainSeconds" $stopsAfter
  "affinity" (include "tempo-stack.tempo.mirrorAffinity" $ctx | fromYaml)
  "spreads" (ternary "true" "" (and (not $component.zone) (or (gt (int $component.replicas) 1) (not (empty $component.autoscaling)))))
  "rolls" (ternary "true" "" (eq $component.kind "Deployment")) -}}
{{- if $component.target -}}
{{- $args = append $args (printf "-target=%s" $component.target) -}}
{{- $env = merge $env (include "tempo-stack.tempo.podEnv" $ctx | fromYaml) -}}
{{- $_ := set $shared "affinity" (include "tempo-stack.tempo.affinity" . | fromYaml) -}}
{{- end -}}
{{- $_ := set $tempo "podLabels" (merge (include "tempo-stack.tempo.component.labels" $component | fromYaml) ($tempo.podLabels | default dict)) -}}
{{- if include "tempo-stack.tempo.expands" $ctx -}}{{- $args = append $args "-config.expand-env=true" -}}{{- end -}}
{{- with $component.args -}}{{- $args = concat $args . -}}{{- end -}}
{{- if hasKey $env "KAFKA_PASSWORD" -}}{{- $args = append $args "-ingest.sasl-password=$(KAFKA_PASSWORD)" -}}{{- end -}}
{{- $lifecycle := dict -}}
{{- with $stopsAfter -}}{{- $lifecycle = dict "preStop" (dict "sleep" (dict "seconds" (int .))) -}}{{- end -}}
{{- with $component.zone -}}
{{- $_ := set $tempo "nodeSelector" (merge (dict "topology.kubernetes.io/zone" .) ($tempo.nodeSelector | default dict)) -}}
{{- end -}}
{{- $checksums := dict "config" .config -}}
{{- if include "tempo-stack.tempo.s3.ownSecretName" $ctx -}}
{{- $_ := set $checksums "secret" (include "tempo-stack.tempo.s3.secretData" $ctx) -}}
{{- end -}}
metadata:
  {{- include "tempo-stack.podMetadata" (merge (dict "checksums" $checksums "labels" (include "tempo-stack.tempo.storage.labels" $ctx | fromYaml)) $shared) | nindent 2 }}
spec:
  {{- include "tempo-stack.podSettings" $shared | nindent 2 }}
  {{- if or (include "tempo-stack.tempo.checksLog" (dict "ctx" $ctx "component" $component)) (include "tempo-stack.tempo.guardsDisk" $ctx) $mirrored $tempo.initContainers }}
  initContainers:
    {{- if include "tempo-stack.tempo.checksLog" (dict "ctx" $ctx "component" $component) }}
    {{- include "tempo-stack.tempo.logCheck" $ctx | nindent 4 }}
    {{- end }}
    {{- if include "tempo-stack.tempo.guardsDisk" $ctx }}
    {{- include "tempo-stack.tempo.diskGuard" $ctx | nindent 4 }}
    {{- end }}
    {{- if $mirrored }}
    {{- include "tempo-stack.tempo.settle" $ctx | nindent 4 }}
    {{- end }}
    {{- with $tempo.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: tempo
      image: {{ include "tempo-stack.image" (dict "ctx" $ctx "image" $tempo.image) | quote }}
      imagePullPolicy: {{ $tempo.image.pullPolicy }}
      args:
        {{- include "tempo-stack.args" (dict "own" $args "extra" $tempo.extraArgs "dashes" "-") | nindent 8 }}
      env:
        {{- include "tempo-stack.env" (dict "values" $tempo "memoryPercent" 80 "own" $env) | nindent 8 }}
      ports:
        {{- include "tempo-stack.containerPorts" (include "tempo-stack.tempo.ownPorts" (dict "ctx" $ctx "component" $component) | fromYaml) | nindent 8 }}
      startupProbe:
        httpGet:
          path: /ready
          port: {{ $probePort }}
        {{- include "tempo-stack.probeTiming" $tempo.probes.startup | nindent 8 }}
      readinessProbe:
        httpGet:
          path: /ready
          port: {{ $probePort }}
        {{- include "tempo-stack.probeTiming" $tempo.probes.readiness | nindent 8 }}
      # Not /ready: it answers 503 while the write-ahead log is replayed, and a restart would begin anew.
      livenessProbe:
        httpGet:
          path: /status/version
          port: {{ $probePort }}
        {{- include "tempo-stack.probeTiming" $tempo.probes.liveness | nindent 8 }}
      resources:
        {{- $emptyDir := ternary (include "tempo-stack.quantity.bytes" $component.size) "" (eq $component.volume "emptyDir") }}
        {{- include "tempo-stack.resources" (dict "resources" $tempo.resources "emptyDirBytes" $emptyDir) | nindent 8 }}
      {{- with include "tempo-stack.containerExtras" (dict "values" $tempo "lifecycle" $lifecycle) }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "tempo-stack.securityContext" (dict "ctx" $ctx "context" $tempo.securityContext) }}
      securityContext:
        {{- . | nindent 8 }}
      {{- end }}
      volumeMounts:
        {{- $mounts := list
          (dict "name" "config" "mountPath" "/etc/tempo" "readOnly" true)
          (dict "name" "data" "mountPath" (include "tempo-stack.tempo.dataPath" $ctx)) }}
        {{- if include "tempo-stack.tempo.guardsDisk" $ctx }}
        {{- $mounts = append $mounts (dict "name" "ingest" "mountPath" (include "tempo-stack.tempo.disk.path" $ctx) "readOnly" true) }}
        {{- end }}
        {{- range $volume := $credentials }}
        {{- $path := printf "%s/%s" (include "tempo-stack.tempo.remoteWrite.path" $ctx) (trimPrefix "remote-write-" $volume.name) }}
        {{- $mounts = append $mounts (dict "name" $volume.name "mountPath" $path "readOnly" true) }}
        {{- end }}
        {{- range include "tempo-stack.tempo.storage.volumes" $ctx | fromYamlArray }}
        {{- $mounts = append $mounts (dict "name" .name "mountPath" (include "tempo-stack.tempo.storage.path" $ctx) "readOnly" true) }}
        {{- end }}
        {{- $certificates := include "tempo-stack.tempo.tlsVolumes" $ctx | fromYaml }}
        {{- $mounts = concat $mounts (include "tempo-stack.secretMounts" (dict "path" (include "tempo-stack.tempo.tlsPath" $ctx) "volumes" $certificates) | fromYamlArray) }}
        {{- include "tempo-stack.volumeMounts" (dict "own" $mounts "extra" $tempo.extraVolumes "mounts" $tempo.extraVolumeMounts) | nindent 8 }}
    {{- with $tempo.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- $volumes := list (dict "name" "config" "configMap" (dict "name" $fullname)) }}
    {{- if eq $component.volume "emptyDir" }}
    {{- $volumes = append $volumes (dict "name" "data" "emptyDir" (dict "sizeLimit" $component.size)) }}
    {{- else if eq $component.volume "existingClaim" }}
    {{- $volumes = append $volumes (dict "name" "data" "persistentVolumeClaim" (dict "claimName" $tempo.persistence.existingClaim)) }}
    {{- end }}
    {{- if include "tempo-stack.tempo.guardsDisk" $ctx }}
    {{- /* In memory, so that it can be written when the node's disk is full, too. */}}
    {{- $volumes = append $volumes (dict "name" "ingest" "emptyDir" (dict "medium" "Memory" "sizeLimit" "1Mi")) }}
    {{- end }}
    {{- if $mirrored }}
    {{- $volumes = append $volumes (dict "name" "settle" "emptyDir" (dict "medium" "Memory" "sizeLimit" "1Mi")) }}
    {{- end }}
    {{- $volumes = concat $volumes $credentials (include "tempo-stack.tempo.storage.volumes" $ctx | fromYamlArray) }}
    {{- range include "tempo-stack.tempo.tlsVolumes" $ctx | fromYaml }}{{- $volumes = append $volumes . }}{{- end }}
    {{- include "tempo-stack.volumes" (dict "own" $volumes "extra" $tempo.extraVolumes) | nindent 4 }}
{{- end }}
