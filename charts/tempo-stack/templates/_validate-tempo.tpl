{{/* Guards of tempo.*; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.tempoReplicas" -}}
{{- if and .Values.tempo.enabled (gt (int .Values.tempo.replicas) 2) -}}
tempo.replicas is {{ int .Values.tempo.replicas }}: there are at most two, each of which gets every span, so a third adds nothing but its cost. Set it to 1, or to 2 for mirrors; to scale out, set tempo.mode to microservices.
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
{{- range $store, $keys := dict "s3" (list "access_key" "secret_key" "session_token") "azure" (list "storage_account_key") -}}
{{- $given := dig "storage" "trace" $store dict ($.Values.tempo.config | default dict) -}}
{{- range $keys -}}
{{- if and (kindIs "map" $given) (get $given .) }}
tempo.config.storage.trace.{{ $store }}.{{ . }} is set: it would stand in clear in a ConfigMap. Put it into a Secret and name that in tempo.storage.{{ $store }}.existingSecret.
{{- end -}}
{{- end -}}
{{- end -}}
{{- with dig "storage" "trace" "s3" "sse" dict (.Values.tempo.config | default dict) -}}
{{- if and (kindIs "map" .) .encryption_key }}
tempo.config.storage.trace.s3.sse.encryption_key is set: it would stand in clear in a ConfigMap. Let the store hold the key, with tempo.storage.s3.sse.
{{- end -}}
{{- end -}}
{{- range dig "metrics_generator" "storage" "remote_write" list (.Values.tempo.config | default dict) -}}
{{- range $key, $credential := dict "basic_auth.password" (.basic_auth).password "authorization.credentials" (.authorization).credentials "bearer_token" .bearer_token -}}
{{- if $credential }}
tempo.config.metrics_generator.storage.remote_write has {{ $key }}: it would stand in clear in a ConfigMap. Put it into a Secret and name that in tempo.metricsGenerator.remoteWrite.
{{- end -}}
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
{{- if and .Values.tempo.enabled .Values.otelCollector.enabled (include "tempo-stack.tempo.hasTenants" .) (not (include "tempo-stack.tenants.named" .)) (not .Values.otelCollector.exporter.endpoint) -}}
{{- $id := include "tempo-stack.otelCollector.exporterId" . -}}
{{- $exporter := get ((include "tempo-stack.otelCollector.config" . | fromYaml).exporters | default dict) $id | default dict -}}
{{- if not (or (include "tempo-stack.otelCollector.tenantHeader" .) $exporter.auth) }}
tempo.config.multitenancy_enabled is true and the Collector sends no tenant: Tempo would refuse what the Collector acknowledged, for ever. Set otelCollector.config.exporters.{{ $id }}.headers.X-Scope-OrgID to the tenant's name.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoDiskReserve" -}}
{{- if include "tempo-stack.tempo.guardsDisk" . -}}
{{- $size := include "tempo-stack.quantity.bytes" .Values.tempo.persistence.size -}}
{{- $reserve := include "tempo-stack.tempo.disk.reserve" . -}}
{{- $late := include "tempo-stack.tempo.disk.late" . | int64 -}}
{{- $least := include "tempo-stack.mebibytes" (add $late 1048575) -}}
{{- if not (and $size $reserve) -}}
{{- else if lt (int64 $reserve) $late -}}
tempo.disk.guard.reserve is {{ .Values.tempo.disk.guard.reserve }}: until Tempo refuses spans, {{ $least }} may come in at tempo.limits.ingestBytesPerSecond. Set the reserve to that or more, or lower the limit.
{{- else if ge (mul 3 (int64 $reserve)) (mul 2 (int64 $size)) -}}
tempo.persistence.size is {{ .Values.tempo.persistence.size }} and the reserve {{ include "tempo-stack.mebibytes" $reserve }}: spans are taken again above one and a half times of it, which such a volume never has. Make the volume larger, or lower tempo.disk.guard.reserve and tempo.limits.ingestBytesPerSecond.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tempo reads one file of overrides, and the container beside it writes that one. */}}
{{- define "tempo-stack.validate.tempoDiskOverrides" -}}
{{- if include "tempo-stack.tempo.guardsDisk" . -}}
{{- with ((.Values.tempo.config).overrides).per_tenant_override_config -}}
tempo.config.overrides.per_tenant_override_config is {{ . }}: the guard of the volume works through this file. Set tempo.disk.guard.enabled to false to use one of your own.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoDiskExpected" -}}
{{- $tempo := .Values.tempo -}}
{{- $rate := int64 $tempo.disk.expectedSpansPerSecond -}}
{{- $size := include "tempo-stack.quantity.bytes" $tempo.persistence.size -}}
{{- if and $tempo.enabled $rate $size (eq $tempo.storage.backend "local") -}}
{{- $needed := include "tempo-stack.tempo.disk.needs" (dict "ctx" . "rate" $rate) | int64 -}}
{{- if not (include "tempo-stack.tempo.guardsDisk" .) -}}
{{- else if $tempo.disk.guard.reserve -}}
{{- $needed = add $needed (include "tempo-stack.tempo.disk.reserve" . | int64) -}}
{{- else -}}
{{- /* The reserve grows with the size. */ -}}
{{- $needed = max (div (mul $needed 10) 9) (add $needed (include "tempo-stack.tempo.disk.late" . | int64)) -}}
{{- end -}}
{{- if gt $needed (int64 $size) -}}
tempo.persistence.size is {{ $tempo.persistence.size }}: {{ $rate }} spans/s (tempo.disk.expectedSpansPerSecond) of {{ int64 $tempo.disk.bytesPerSpan }} bytes (tempo.disk.bytesPerSpan) need {{ include "tempo-stack.gibibytes" $needed }} for {{ ternary "the longest retention of a tenant" $tempo.retention.period .Values.tenants.enabled }}. Set the size to that, {{ ternary "that retention" "tempo.retention.period" .Values.tenants.enabled }} to less, or tempo.storage.backend to s3.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Limits that contradict each other. */}}
{{- define "tempo-stack.validate.tempoLimits" -}}
{{- if .Values.tempo.enabled -}}
{{- $limits := include "tempo-stack.tempo.limits" . | fromYaml -}}
{{- $batch := include "tempo-stack.otelCollector.maxBatchBytes" . | int64 -}}
{{- if and .Values.otelCollector.enabled (not .Values.otelCollector.exporter.endpoint) (lt (int64 $limits.ingestBurstBytes) $batch) }}
tempo.limits.ingestBurstBytes is {{ int64 $limits.ingestBurstBytes }}: Tempo would refuse the largest batch of the Collector ({{ $batch }} bytes) for ever. Set it to {{ $batch }} or more, or lower otelCollector.receivers.maxRequestMiB.
{{- end -}}
{{- if lt (int64 $limits.maxWaitingJobs) (int64 $limits.maxConcurrentJobs) }}
tempo.query.maxWaitingJobs is {{ int64 $limits.maxWaitingJobs }} while tempo.query.maxConcurrentJobs is {{ int64 $limits.maxConcurrentJobs }}: one query of so many jobs would be refused although nothing else runs. Set maxWaitingJobs to {{ int64 $limits.maxConcurrentJobs }} or more.
{{- end -}}
{{- if not (include "tempo-stack.duration.seconds" .Values.tempo.query.timeout | int) }}
tempo.query.timeout is {{ toString .Values.tempo.query.timeout | quote }}: every query would be refused. Write a time such as 60s or 2m.
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Limits that the memory can't hold: Tempo would be killed before it refuses.
Measured: an accepted byte per second takes up to 15 bytes, and a trace that is read up to 12 times its size.
*/}}
{{- define "tempo-stack.validate.tempoMemory" -}}
{{- if .Values.tempo.enabled -}}
{{- with include "tempo-stack.memoryLimit" .Values.tempo.resources -}}
{{- $memory := int64 . -}}
{{- $least := 268435456 -}}
{{- if lt $memory $least }}
tempo.resources.limits.memory is {{ include "tempo-stack.scalar" $.Values.tempo.resources.limits.memory }}: Tempo needs 256Mi to take in the largest batch while it writes a block. Set it to 256Mi or more.
{{- end -}}
{{- range $key, $part := dict "ingestBytesPerSecond" 15 "maxBytesPerTrace" 12 -}}
{{- $value := get $.Values.tempo.limits $key -}}
{{- if not (kindIs "invalid" $value) -}}
{{- if gt (int64 $value) (div $memory $part) }}
tempo.limits.{{ $key }} is {{ int64 $value }}: with tempo.resources.limits.memory at {{ include "tempo-stack.scalar" $.Values.tempo.resources.limits.memory }} Tempo would be killed before it comes to that. Set it to {{ div $memory $part }} or less, leave it null, or raise the memory limit.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
