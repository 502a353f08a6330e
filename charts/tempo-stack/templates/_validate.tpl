{{/*
Guards: one define per rule, which prints what is wrong with which key and what to do, or nothing.
"tempo-stack.validate" runs them all and fails with everything they found.
*/}}
{{- define "tempo-stack.validate" -}}
{{- $found := list -}}
{{- range list
  "keys" "components" "serviceNames" "ports" "quantities"
  "tempoReplicas" "tempoVersion" "tempoConfigBlocks" "tempoConfigPorts" "tempoConfigCredentials"
  "tempoRetention" "tempoRetentionPoll" "tempoExistingClaim" "tempoAccessMode"
  "tempoBackend" "tempoS3Bucket" "tempoS3Endpoint" "tempoS3Credentials" "tempoS3KeyPair"
  "collectorVersion" "collectorExporter" "collectorReceivers" "collectorConfigPorts" "collectorPipelines"
  "collectorMemoryLimiter" "collectorAutoscaling" "collectorQueueType" "collectorQueuePersistence" "collectorQueueSize"
  "serviceFields" "serviceTraffic" "serviceFamilies" "serviceNodePorts" "collectorExtraPorts" "extraVolumes" "extraEnv"
  "tempoS3Prefix" "tempoS3KeyText" "tempoConfigOverrides" "tempoTenant"
  "collectorConfigExtensions" "collectorConfigHealth" "collectorConfigMetrics" "collectorConfigReceivers" "collectorConfigUnused"
  "monitorTimeout" -}}
{{- with include (printf "tempo-stack.validate.%s" .) $ | trim -}}
{{- $found = concat $found (splitList "\n" . | compact) -}}
{{- end -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "these values can't work:\n  - %s\n" (join "\n  - " $found)) -}}
{{- end -}}
{{- end }}

{{/* A key that nothing reads is a mistake that nobody would see. */}}
{{- define "tempo-stack.validate.keys" -}}
{{- $table := .Files.Get "files/known-values.yaml" | fromYaml -}}
{{- $peers := .Files.Get "files/peer-keys.yaml" | fromYaml -}}
{{- $above := ternary "" (printf "%s." .Chart.Name) .Chart.IsRoot -}}
{{- include "tempo-stack.keys.unknown" (dict "values" .Values "known" $table.defaults "path" "" "table" $table "peers" $peers "above" $above) -}}
{{- end }}

{{- define "tempo-stack.validate.components" -}}
{{- if not (or .Values.tempo.enabled .Values.otelCollector.enabled) -}}
tempo.enabled and otelCollector.enabled are both false: nothing would be installed. Switch one of them on.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.serviceNames" -}}
{{- $names := dict -}}
{{- if .Values.tempo.enabled -}}{{- $_ := set $names "tempo.service.name" (include "tempo-stack.tempo.serviceName" .) -}}{{- end -}}
{{- if .Values.otelCollector.enabled -}}
{{- $_ := set $names "otelCollector.service.name" (include "tempo-stack.otelCollector.serviceName" .) -}}
{{- $_ := set $names "the metrics Service of the Collector" (include "tempo-stack.otelCollector.metricsServiceName" .) -}}
{{- if eq .Values.otelCollector.service.type "LoadBalancer" -}}
{{- $_ := set $names "the Service of the Collector for UDP" (include "tempo-stack.otelCollector.udpServiceName" .) -}}
{{- end -}}
{{- if include "tempo-stack.otelCollector.stateful" . -}}
{{- $_ := set $names "the headless Service of the Collector" (include "tempo-stack.otelCollector.headlessServiceName" .) -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $key, $name := $names -}}
{{- if hasKey $seen $name }}
{{ get $seen $name }} and {{ $key }} are both {{ $name }}: one Service would replace the other. Give one of them another name.
{{- else if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{ $key }} is {{ $name }}: a Service's name begins with a letter and holds only a-z, 0-9 and -. Set fullnameOverride, or the name itself.
{{- end -}}
{{- $_ := set $seen $name $key -}}
{{- end -}}
{{- end }}

{{/* One listener per protocol and port inside a pod. */}}
{{- define "tempo-stack.validate.ports" -}}
{{- $components := dict -}}
{{- if .Values.tempo.enabled -}}
{{- $list := list
  (dict "key" "tempo.internalPorts.grpc" "protocol" "TCP" "port" .Values.tempo.internalPorts.grpc)
  (dict "key" "tempo.internalPorts.memberlist" "protocol" "TCP" "port" .Values.tempo.internalPorts.memberlist) -}}
{{- range $key, $port := include "tempo-stack.tempo.ports" . | fromYaml -}}
{{- $list = append $list (dict "key" (printf "tempo.service.ports.%s" $key) "protocol" $port.protocol "port" $port.port) -}}
{{- end -}}
{{- $_ := set $components "Tempo" $list -}}
{{- end -}}
{{- if .Values.otelCollector.enabled -}}
{{- $list := list (dict "key" "otelCollector.internalPorts.healthCheck" "protocol" "TCP" "port" .Values.otelCollector.internalPorts.healthCheck) -}}
{{- range $key, $port := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- $key = printf "otelCollector.service.%s%s" (ternary "" "ports." (hasPrefix "extraPorts." $key)) $key -}}
{{- $list = append $list (dict "key" $key "protocol" $port.protocol "port" $port.port) -}}
{{- end -}}
{{- $_ := set $components "the Collector" $list -}}
{{- end -}}
{{- range $component, $list := $components -}}
{{- $seen := dict -}}
{{- range $list -}}
{{- $listener := printf "%s port %d" .protocol (int .port) -}}
{{- if hasKey $seen $listener }}
{{ get $seen $listener }} and {{ .key }} are both {{ int .port }}: {{ $component }} can't listen twice on {{ $listener }}. Change one of them.
{{- end -}}
{{- $_ := set $seen $listener .key -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Quantities that the chart calculates with. */}}
{{- define "tempo-stack.validate.quantities" -}}
{{- $tempo := .Values.tempo -}}
{{- $collector := .Values.otelCollector -}}
{{- $quantities := dict -}}
{{- if $tempo.enabled -}}
{{- $_ := set $quantities "tempo.persistence.size" $tempo.persistence.size -}}
{{- $_ := set $quantities "tempo.resources.limits.memory" (($tempo.resources | default dict).limits | default dict).memory -}}
{{- end -}}
{{- if $collector.enabled -}}
{{- $_ := set $quantities "otelCollector.queue.size" $collector.queue.size -}}
{{- $_ := set $quantities "otelCollector.queue.persistence.size" $collector.queue.persistence.size -}}
{{- $_ := set $quantities "otelCollector.resources.limits.memory" (($collector.resources | default dict).limits | default dict).memory -}}
{{- end -}}
{{- range $key, $value := $quantities -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if not (include "tempo-stack.quantity.bytes" $value) }}
{{ $key }} is {{ include "tempo-stack.scalar" $value | quote }}: not a quantity that the chart can calculate with. Write bytes as a number with an optional Ki, Mi, Gi, Ti, k, M, G or T, for example 512Mi.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoReplicas" -}}
{{- if and .Values.tempo.enabled (gt (int .Values.tempo.replicas) 1) -}}
tempo.replicas is {{ int .Values.tempo.replicas }}: a monolithic Tempo answers queries from its own memory, so a second pod hides traces. Set it to 1; to scale out, use the tempo-distributed chart.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoVersion" -}}
{{- if .Values.tempo.enabled -}}
{{- $version := include "tempo-stack.tempo.version" . -}}
{{- $key := ternary "tempo.version" "tempo.image.tag" (ne .Values.tempo.version "") -}}
{{- $text := default .Values.tempo.image.tag .Values.tempo.version -}}
{{- if not $version -}}
{{ $key }} is {{ $text | quote }}: it doesn't say which Tempo is inside. Set tempo.version, for example 2.10.8.
{{- else if not (semverCompare ">=2.3.0 <3.1.0" $version) -}}
{{ $key }} is {{ $text | quote }}: the chart writes configurations for Tempo 2.3 to 3.0 only. Choose a version in that range.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Blocks that a version doesn't know end Tempo at its start, before it can log. */}}
{{- define "tempo-stack.validate.tempoConfigBlocks" -}}
{{- if .Values.tempo.enabled -}}
{{- range list
  (dict "constraint" ">=3.0.0" "remedy" "3.0 replaced them by live_store, backend_scheduler and backend_worker"
    "blocks" (list "ingester" "ingester_client" "compactor" "partition_ring_live_store"))
  (dict "constraint" "<3.0.0" "remedy" "they came with 3.0" "blocks" (list "memory" "span_profiling"))
  (dict "constraint" "<2.4.0" "remedy" "they came after 2.3"
    "blocks" (list "cache" "ingest" "block_builder" "backend_scheduler" "backend_worker" "live_store" "shutdown_delay")) -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" $ "constraint" .constraint) -}}
{{- $rule := . -}}
{{- range .blocks -}}
{{- if and (hasKey ($.Values.tempo.config | default dict) .) (not (kindIs "invalid" (get $.Values.tempo.config .))) }}
tempo.config.{{ . }} is set: Tempo {{ include "tempo-stack.tempo.version" $ }} doesn't know this block and would not start. Remove it; {{ $rule.remedy }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Service, the probes and the Collector read the ports from the values, so the file must agree with them. */}}
{{- define "tempo-stack.validate.tempoConfigPorts" -}}
{{- if .Values.tempo.enabled -}}
{{- $config := include "tempo-stack.tempo.config" . | fromYaml -}}
{{- $ports := .Values.tempo.service.ports -}}
{{- $http := dig "server" "http_listen_port" "" $config -}}
{{- if ne (include "tempo-stack.scalar" $http) (include "tempo-stack.scalar" $ports.http) }}
tempo.config.server.http_listen_port is {{ include "tempo-stack.scalar" $http | default "removed" }}: the Service and the probes would still use {{ int $ports.http }}. Set tempo.service.ports.http instead.
{{- end -}}
{{- $otlp := dig "distributor" "receivers" "otlp" "protocols" "grpc" "endpoint" "" $config -}}
{{- if not (hasSuffix (printf ":%d" (int $ports.otlpGrpc)) $otlp) }}
tempo.config.distributor.receivers.otlp.protocols.grpc.endpoint is {{ default "removed" $otlp }}: the Service and the Collector would still use port {{ int $ports.otlpGrpc }}. Set tempo.service.ports.otlpGrpc instead.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoConfigCredentials" -}}
{{- if .Values.tempo.enabled -}}
{{- $s3 := dig "storage" "trace" "s3" dict (.Values.tempo.config | default dict) -}}
{{- range list "access_key" "secret_key" "session_token" -}}
{{- if and (kindIs "map" $s3) (get $s3 .) }}
tempo.config.storage.trace.s3.{{ . }} is set: it would stand in clear in a ConfigMap. Put it into a Secret and name that in tempo.storage.s3.existingSecret.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoRetention" -}}
{{- if .Values.tempo.enabled -}}
{{- $period := .Values.tempo.retention.period -}}
{{- $seconds := include "tempo-stack.duration.seconds" $period -}}
{{- if not $seconds -}}
tempo.retention.period is {{ toString $period | quote }}: not a duration. Write weeks, days, hours, minutes and seconds in this order, for example 2w, 3d, 1d12h or 30m.
{{- else if eq $seconds "0" -}}
tempo.retention.period is {{ toString $period | quote }}: every trace would be deleted at once. Write for how long traces are kept, for example 3d.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tempo warns of it too: a querier could ask for blocks that are gone. */}}
{{- define "tempo-stack.validate.tempoRetentionPoll" -}}
{{- if .Values.tempo.enabled -}}
{{- $period := .Values.tempo.retention.period -}}
{{- $poll := dig "storage" "trace" "blocklist_poll" "5m" (include "tempo-stack.tempo.config" . | fromYaml) -}}
{{- $pollSeconds := include "tempo-stack.duration.seconds" $poll -}}
{{- $seconds := include "tempo-stack.duration.seconds" $period -}}
{{- if and $seconds $pollSeconds (ne $seconds "0") -}}
{{- if lt (atoi $seconds) (atoi $pollSeconds) -}}
tempo.retention.period is {{ $period | quote }}: shorter than the {{ $poll }} after which queriers learn of deleted blocks (storage.trace.blocklist_poll). Keep traces longer, or set tempo.config.storage.trace.blocklist_poll to less.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoExistingClaim" -}}
{{- with .Values.tempo -}}
{{- if and .enabled .persistence.existingClaim (not .persistence.enabled) -}}
tempo.persistence.existingClaim is {{ .persistence.existingClaim }} while tempo.persistence.enabled is false: the claim would not be used. Switch persistence on, or remove the claim's name.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoAccessMode" -}}
{{- with .Values.tempo -}}
{{- if and .enabled .persistence.enabled (not .persistence.existingClaim) (eq .persistence.accessMode "ReadWriteMany") -}}
tempo.persistence.accessMode is ReadWriteMany: two pods could write to the claim, and one would destroy the other's write-ahead log. Set it to ReadWriteOnce or ReadWriteOncePod.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoBackend" -}}
{{- if and .Values.tempo.enabled (not (has .Values.tempo.storage.backend (list "local" "s3"))) -}}
tempo.storage.backend is {{ .Values.tempo.storage.backend | quote }}: not a backend that the chart knows. Set it to local or s3.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Bucket" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") (not .Values.tempo.storage.s3.bucket) -}}
tempo.storage.s3.bucket is empty: with tempo.storage.backend s3 Tempo needs a bucket. Set its name.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Endpoint" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- $endpoint := include "tempo-stack.tempo.s3.endpoint" . -}}
{{- if not $endpoint -}}
tempo.storage.s3.endpoint and tempo.storage.s3.region are both empty: Tempo can't know where the bucket is. Set the region for AWS, or the endpoint for another store.
{{- else if contains "/" $endpoint -}}
tempo.storage.s3.endpoint is {{ $endpoint | quote }}: Tempo wants a host and a port without a scheme or a path. Write for example minio.storage.svc:9000, and tempo.storage.s3.insecure: true for plain HTTP.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Credentials" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled .existingSecret (or .accessKey .secretKey) -}}
tempo.storage.s3.existingSecret is {{ .existingSecret }} and accessKey or secretKey is set too: it is unclear which credentials count. Keep the Secret and remove the keys.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3KeyPair" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled (ne (empty .accessKey) (empty .secretKey)) -}}
{{- $missing := ternary "accessKey" "secretKey" (empty .accessKey) -}}
tempo.storage.s3.{{ $missing }} is empty while its counterpart is set: both are needed. Set it, or use tempo.storage.s3.existingSecret.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorVersion" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $version := include "tempo-stack.otelCollector.version" . -}}
{{- $key := ternary "otelCollector.version" "otelCollector.image.tag" (ne .Values.otelCollector.version "") -}}
{{- $text := default .Values.otelCollector.image.tag .Values.otelCollector.version -}}
{{- if not $version -}}
{{ $key }} is {{ $text | quote }}: it doesn't say which Collector is inside. Set otelCollector.version, for example 0.155.0.
{{- else if not (semverCompare ">=0.89.0" $version) -}}
{{ $key }} is {{ $text | quote }}: the chart writes configurations for the Collector 0.89.0 and later. Choose a newer version.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorExporter" -}}
{{- if and .Values.otelCollector.enabled (not .Values.tempo.enabled) (not .Values.otelCollector.exporter.endpoint) -}}
otelCollector.exporter.endpoint is empty while tempo.enabled is false: the Collector would have nowhere to send spans. Set it to the host and port of an OTLP gRPC server.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorReceivers" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- if not (dig "service" "pipelines" "traces" "receivers" "" $config) -}}
otelCollector.receivers are all off: no span could come in. Switch one on, or name others in otelCollector.config.service.pipelines.traces.receivers.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Service reads the ports from the values, so the file must agree with them. */}}
{{- define "tempo-stack.validate.collectorConfigPorts" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- if hasKey $ports .key -}}
{{- $port := int (get $ports .key).port -}}
{{- $endpoint := dig "receivers" .receiver "protocols" .protocol "endpoint" "" $config -}}
{{- if not (hasSuffix (printf ":%d" $port) $endpoint) }}
otelCollector.config.receivers.{{ .receiver }}.protocols.{{ .protocol }}.endpoint is {{ default "removed" $endpoint }}: the Service would still point to {{ $port }}. Set otelCollector.service.ports.{{ .key }}, or switch off otelCollector.receivers.{{ .key }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names in pipelines that nothing defines end the Collector at its start. */}}
{{- define "tempo-stack.validate.collectorPipelines" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $connectors := $config.connectors | default dict -}}
{{- range $pipeline, $members := dig "service" "pipelines" dict $config -}}
{{- range $kind := list "receivers" "processors" "exporters" -}}
{{- range get ($members | default dict) $kind | default list -}}
{{- if not (or (hasKey (get $config $kind | default dict) .) (and (ne $kind "processors") (hasKey $connectors .))) }}
otelCollector.config.service.pipelines.{{ $pipeline }}.{{ $kind }} names {{ . }}: nothing under {{ $kind }} has that name. Define otelCollector.config.{{ $kind }}.{{ . }}, or take it out of the list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorMemoryLimiter" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .memoryLimiter.enabled -}}
{{- if kindIs "invalid" ((.resources | default dict).limits | default dict).memory -}}
otelCollector.resources.limits.memory is not set while otelCollector.memoryLimiter.enabled is true: the limiter needs a limit to stay below. Set the memory limit, or switch the limiter off.
{{- else if ge (int .memoryLimiter.spikePercent) (int .memoryLimiter.limitPercent) -}}
otelCollector.memoryLimiter.spikePercent is {{ int .memoryLimiter.spikePercent }}: it must be below limitPercent ({{ int .memoryLimiter.limitPercent }}), or the Collector refuses everything. Lower it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorAutoscaling" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .autoscaling.enabled -}}
{{- $least := int .autoscaling.minReplicas -}}
{{- $most := int .autoscaling.maxReplicas -}}
{{- if gt $least $most }}
otelCollector.autoscaling.minReplicas is {{ $least }}: it can't be above maxReplicas ({{ $most }}). Lower it.
{{- end -}}
{{- if kindIs "invalid" (dig "resources" "requests" "cpu" nil .) }}
otelCollector.resources.requests.cpu is not set while otelCollector.autoscaling.enabled is true: the autoscaler's target is a percentage of the request. Set the request, or switch the autoscaler off.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorQueueType" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled (not (has .queue.type (list "file" "memory"))) -}}
otelCollector.queue.type is {{ .queue.type | quote }}: not a kind of queue that the chart knows. Set it to file or memory.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.collectorQueuePersistence" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .queue.persistence.enabled (eq .queue.type "memory") -}}
otelCollector.queue.persistence.enabled is true while otelCollector.queue.type is memory: nothing would be written to the claim. Set the type to file, or switch persistence off.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A queue on disk takes up to 3.4 times its size when requests are tiny, 1.1 times when they hold 100 spans (measured). */}}
{{- define "tempo-stack.validate.collectorQueueSize" -}}
{{- with .Values.otelCollector -}}
{{- $size := include "tempo-stack.quantity.bytes" .queue.size -}}
{{- $claim := include "tempo-stack.quantity.bytes" .queue.persistence.size -}}
{{- $memory := include "tempo-stack.memoryLimit" .resources -}}
{{- if and .enabled $size -}}
{{- if and (eq .queue.type "memory") $memory -}}
{{- if gt (int64 $size) (div (int64 $memory) 2) -}}
otelCollector.queue.size is {{ .queue.size }}: a queue in memory may take at most half of the memory limit ({{ .resources.limits.memory }}). Set it to less, for example 128Mi.
{{- end -}}
{{- else if and .queue.persistence.enabled (eq .queue.type "file") $claim -}}
{{- if gt (mul 2 (int64 $size)) (int64 $claim) -}}
otelCollector.queue.persistence.size is {{ .queue.persistence.size }}: the claim must hold twice the queue ({{ .queue.size }}), because the queue's file is larger than the spans in it. Make it larger, or otelCollector.queue.size smaller.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Services: fields that the API refuses, or ignores, for a type. */}}
{{- define "tempo-stack.validate.serviceFields" -}}
{{- range $component := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $component -}}
{{- $service := $values.service -}}
{{- if $values.enabled -}}
{{- range $field, $types := dict
  "loadBalancerClass" (list "LoadBalancer")
  "loadBalancerSourceRanges" (list "LoadBalancer")
  "externalTrafficPolicy" (list "NodePort" "LoadBalancer")
  "nodePorts" (list "NodePort" "LoadBalancer") -}}
{{- if and (get $service $field) (not (has $service.type $types)) }}
{{ $component }}.service.{{ $field }} is {{ get $service $field | toJson }} while {{ $component }}.service.type is {{ $service.type }}: it is only for the type {{ join " or " $types }}. Set that type, or leave the field out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.serviceTraffic" -}}
{{- range $component := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $component -}}
{{- if and $values.enabled $values.service.trafficDistribution -}}
{{- if semverCompare "<1.31.0-0" $.Capabilities.KubeVersion.Version }}
{{ $component }}.service.trafficDistribution is {{ $values.service.trafficDistribution }}: Kubernetes before 1.31 doesn't know the field. Leave it out, or upgrade the cluster.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.serviceFamilies" -}}
{{- range $component := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $component -}}
{{- $policy := default "SingleStack" $values.service.ipFamilyPolicy -}}
{{- if and $values.enabled (gt (len ($values.service.ipFamilies | default list)) 1) (eq $policy "SingleStack") }}
{{ $component }}.service.ipFamilies is {{ toJson $values.service.ipFamilies }} while {{ $component }}.service.ipFamilyPolicy is {{ $values.service.ipFamilyPolicy | quote }}: a Service of one stack has one family. Set the policy to PreferDualStack or RequireDualStack, or name one family.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.serviceNodePorts" -}}
{{- range $component := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $component -}}
{{- if and $values.enabled $values.service.nodePorts -}}
{{- $ports := include (printf "tempo-stack.%s.ports" $component) $ | fromYaml -}}
{{- $names := list -}}
{{- range $key, $_ := omit $ports "metrics" -}}{{- $names = append $names (trimPrefix "extraPorts." $key) -}}{{- end -}}
{{- $seen := dict -}}
{{- range $name, $number := $values.service.nodePorts -}}
{{- $number = int $number | toString -}}
{{- if not (has $name $names) }}
{{ $component }}.service.nodePorts.{{ $name }} is {{ $number }}: the Service has no such port. Name one of {{ sortAlpha $names | join ", " }}.
{{- else if hasKey $seen $number }}
{{ $component }}.service.nodePorts.{{ get $seen $number }} and {{ $component }}.service.nodePorts.{{ $name }} are both {{ $number }}: a node has each port once. Change one of them.
{{- end -}}
{{- $_ := set $seen $number $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Names of ports are joined with the chart's own, in the Service and in the container. */}}
{{- define "tempo-stack.validate.collectorExtraPorts" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $own := list "health" "metrics" "otlp-grpc" "otlp-http" "jaeger-grpc" "jaeger-http" "jaeger-compact" "jaeger-binary" -}}
{{- range $name, $port := .Values.otelCollector.service.extraPorts -}}
{{- if has $name $own }}
otelCollector.service.extraPorts.{{ $name }} has the name of a port of the chart: one would hide the other. Give it another name.
{{- else if or (not (regexMatch "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$" $name)) (not (regexMatch "[a-z]" $name)) (contains "--" $name) }}
otelCollector.service.extraPorts.{{ $name }} isn't the name of a port: it has at most 15 of a-z, 0-9 and -, at least one letter, and no two dashes in a row. Give it another name, for example zipkin.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Volumes and mounts of the user are joined with the chart's own. */}}
{{- define "tempo-stack.validate.extraVolumes" -}}
{{- $own := dict
  "tempo" (dict "names" (list "config" "data") "paths" (list "/etc/tempo" (include "tempo-stack.tempo.dataPath" .)))
  "otelCollector" (dict "names" (list "config" "queue") "paths" (list "/etc/otelcol" (include "tempo-stack.otelCollector.queuePath" .))) -}}
{{- range $component, $chart := $own -}}
{{- $values := get $.Values $component -}}
{{- if $values.enabled -}}
{{- $names := $chart.names -}}
{{- range include "tempo-stack.volumes" (dict "own" list "extra" $values.extraVolumes) | fromYamlArray -}}
{{- if has .name $names }}
{{ $component }}.extraVolumes has {{ .name }}, which the pod has already: one would replace the other. Give it another name.
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := $chart.paths -}}
{{- range include "tempo-stack.volumeMounts" (dict "own" list "extra" $values.extraVolumes "mounts" $values.extraVolumeMounts) | fromYamlArray -}}
{{- $path := ternary "/" (trimSuffix "/" .mountPath) (eq .mountPath "/") -}}
{{- if has $path $paths }}
{{ $component }}: the volume {{ .name }} is mounted on {{ .mountPath }}, where another one is already. Choose another mountPath in {{ $component }}.extraVolumes or {{ $component }}.extraVolumeMounts.
{{- else if not (has .name $names) }}
{{ $component }}.extraVolumeMounts has {{ .name }}, which is no volume of the pod. Define it in {{ $component }}.extraVolumes.
{{- end -}}
{{- $paths = append $paths $path -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.extraEnv" -}}
{{- range $component := list "tempo" "otelCollector" -}}
{{- $values := get $.Values $component -}}
{{- if and $values.enabled (kindIs "slice" $values.extraEnv) -}}
{{- $names := list -}}
{{- range $values.extraEnv -}}
{{- if has .name $names }}
{{ $component }}.extraEnv has {{ .name }} twice: only one would count. Remove one of them.
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The prefix becomes part of every object's name, and stores disagree about empty and relative parts. */}}
{{- define "tempo-stack.validate.tempoS3Prefix" -}}
{{- $s3 := .Values.tempo.storage.s3 -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- range splitList "/" (trimAll "/" $s3.prefix) -}}
{{- if or (has . (list "." "..")) (and (eq . "") $s3.prefix) }}
tempo.storage.s3.prefix is {{ $s3.prefix | quote }}: between two slashes stands {{ quote . }}, under which Tempo would not find its blocks again. Write a folder such as tempo or team-a/tempo.
{{- end -}}
{{- end -}}
{{- if contains "/" $s3.bucket }}
tempo.storage.s3.bucket is {{ $s3.bucket | quote }}: a bucket's name holds no slash. Put what is behind it into tempo.storage.s3.prefix.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3KeyText" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- range $key := list "accessKey" "secretKey" -}}
{{- if regexMatch "[\\x00-\\x1f\\x7f]|^ | $" (get $.Values.tempo.storage.s3 $key) }}
tempo.storage.s3.{{ $key }} has a line break, another control character or a space at its end, as a file often leaves it: the store would refuse it. Remove it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The chart writes limits below overrides.defaults, and Tempo refuses a file that mixes both ways to write them. */}}
{{- define "tempo-stack.validate.tempoConfigOverrides" -}}
{{- if .Values.tempo.enabled -}}
{{- $new := list "defaults" "per_tenant_override_config" "per_tenant_override_period" "user_configurable_overrides" "enable_legacy_overrides" -}}
{{- range $key, $value := (.Values.tempo.config | default dict).overrides -}}
{{- if not (or (has $key $new) (kindIs "invalid" $value)) }}
tempo.config.overrides.{{ $key }} is {{ toJson $value }}: it is the flat way to write a limit, which Tempo refuses beside overrides.defaults. Write it below tempo.config.overrides.defaults, in the groups of Tempo's manual, or set tempo.limits.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* With tenants Tempo takes a span only with a tenant's name, which the Collector must send. */}}
{{- define "tempo-stack.validate.tempoTenant" -}}
{{- if and .Values.tempo.enabled .Values.otelCollector.enabled (include "tempo-stack.tempo.hasTenants" .) (not .Values.otelCollector.exporter.endpoint) -}}
{{- $id := include "tempo-stack.otelCollector.exporterId" . -}}
{{- $exporter := get ((include "tempo-stack.otelCollector.config" . | fromYaml).exporters | default dict) $id | default dict -}}
{{- if not (or (include "tempo-stack.otelCollector.tenantHeader" .) $exporter.auth) }}
tempo.config.multitenancy_enabled is true and the Collector sends no tenant: Tempo would refuse what the Collector acknowledged, for ever. Set otelCollector.config.exporters.{{ $id }}.headers.X-Scope-OrgID to the tenant's name.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Collector ends at its start if something names an extension that isn't switched on. */}}
{{- define "tempo-stack.validate.collectorConfigExtensions" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $on := $config.service.extensions | default list -}}
{{- range $on -}}
{{- if not (hasKey ($config.extensions | default dict) .) }}
otelCollector.config.service.extensions names {{ . }}: nothing under extensions has that name. Define otelCollector.config.extensions.{{ . }}, or take it out of the list.
{{- end -}}
{{- end -}}
{{- range $kind := list "exporters" "receivers" -}}
{{- range $id, $component := get $config $kind | default dict -}}
{{- $component = $component | default dict -}}
{{- $wants := dict "sending_queue.storage" (dig "sending_queue" "storage" "" $component) "auth.authenticator" (dig "auth" "authenticator" "" $component) -}}
{{- range $key, $extension := $wants -}}
{{- if and $extension (not (has $extension $on)) }}
otelCollector.config.service.extensions is {{ toJson $on }}: without {{ $extension }}, which {{ $kind }}.{{ $id }}.{{ $key }} needs, the Collector would not start. Add {{ $extension }} to the list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The probes ask the health check at the port of the values and at the path /. */}}
{{- define "tempo-stack.validate.collectorConfigHealth" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $port := int .Values.otelCollector.internalPorts.healthCheck -}}
{{- $check := ($config.extensions | default dict).health_check -}}
{{- if not $check }}
otelCollector.config.extensions.health_check is removed: the probes would still ask it, and no pod would become ready. Leave it in.
{{- else if not (has "health_check" ($config.service.extensions | default list)) }}
otelCollector.config.service.extensions is {{ toJson $config.service.extensions }}: without health_check the probes get no answer, and no pod becomes ready. Add health_check to the list.
{{- else if not (hasSuffix (printf ":%d" $port) (toString $check.endpoint)) }}
otelCollector.config.extensions.health_check.endpoint is {{ $check.endpoint }}: the probes would still use port {{ $port }}. Set otelCollector.internalPorts.healthCheck instead.
{{- else if ne (default "/" $check.path) "/" }}
otelCollector.config.extensions.health_check.path is {{ $check.path }}: the probes would still ask for /. Leave the path out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The metrics Service and the ServiceMonitor count on the port of the values. */}}
{{- define "tempo-stack.validate.collectorConfigMetrics" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $metrics := dig "service" "telemetry" "metrics" dict (include "tempo-stack.otelCollector.config" . | fromYaml) -}}
{{- $port := int .Values.otelCollector.service.ports.metrics -}}
{{- $ports := list -}}
{{- range $metrics.readers -}}
{{- with dig "pull" "exporter" "prometheus" "port" "" . -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- end -}}
{{- with $metrics.address -}}{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}{{- end -}}
{{- if eq (toString $metrics.level) "none" }}
otelCollector.config.service.telemetry.metrics.level is none: the Collector's metrics Service would lead nowhere. Choose basic, normal or detailed.
{{- else if not (has $port $ports) }}
otelCollector.config.service.telemetry.metrics has {{ if $ports }}the port {{ join ", " $ports }}{{ else }}no Prometheus reader{{ end }}: the metrics Service would still use {{ $port }}. Set otelCollector.service.ports.metrics instead, and keep a reader at that port.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A receiver that no pipeline names has no listener, while its port stands in the Service. */}}
{{- define "tempo-stack.validate.collectorConfigReceivers" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $named := list -}}
{{- range dig "service" "pipelines" dict $config -}}{{- $named = concat $named ((. | default dict).receivers | default list) -}}{{- end -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- if and $named (hasKey $ports .key) (hasKey ($config.receivers | default dict) .receiver) (not (has .receiver $named)) }}
otelCollector.receivers.{{ .key }}.enabled is true and otelCollector.config.service.pipelines leaves {{ .receiver }} out: its port would answer nobody. Add {{ .receiver }} to the pipeline's receivers, or switch the receiver off.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The Collector ignores a block that nothing names, or ends because half of it is missing. */}}
{{- define "tempo-stack.validate.collectorConfigUnused" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $used := dict "extensions" ($config.service.extensions | default list) "receivers" list "processors" list "exporters" list -}}
{{- range dig "service" "pipelines" dict $config -}}
{{- $pipeline := . | default dict -}}
{{- range $kind := list "receivers" "processors" "exporters" -}}
{{- $_ := set $used $kind (concat (get $used $kind) (get $pipeline $kind | default list)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $used "connectors" (concat $used.receivers $used.exporters) -}}
{{- range $kind, $names := $used -}}
{{- range $id, $block := get ($.Values.otelCollector.config | default dict) $kind | default dict -}}
{{- if not (or (has $id $names) (kindIs "invalid" $block)) }}
otelCollector.config.{{ $kind }}.{{ $id }} is set and nothing uses it.
{{- if and (eq $kind "exporters") (has $id (list "otlp" "otlp_grpc")) }} The chart's exporter is otelCollector.config.exporters.otlp in every version.
{{- else if eq $kind "extensions" }} Add it to otelCollector.config.service.extensions, beside those of the chart, or remove it.
{{- else }} Name it in a pipeline below otelCollector.config.service.pipelines, or remove it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The operator refuses a ServiceMonitor whose scrape may take longer than the interval. */}}
{{- define "tempo-stack.validate.monitorTimeout" -}}
{{- with .Values.serviceMonitor -}}
{{- if .enabled -}}
{{- $timeout := include "tempo-stack.duration.milliseconds" .scrapeTimeout -}}
{{- $interval := include "tempo-stack.duration.milliseconds" .interval -}}
{{- if gt (int64 $timeout) (int64 $interval) }}
serviceMonitor.scrapeTimeout is {{ .scrapeTimeout }} while serviceMonitor.interval is {{ .interval }}: the operator refuses a scrape that may take longer than the interval. Set scrapeTimeout to {{ .interval }} or less.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
