{{/* Guards of tenants; _validate.tpl runs them. */}}

{{/* What Tempo takes for a tenant (grafana/dskit, tenant/tenant.go): letters, digits and !-_.*'(), at most 150; and what means something else there. */}}
{{- define "tempo-stack.validate.tenantIds" -}}
{{- $ids := dict -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- range $id, $_ := .Values.tenants.list -}}{{- $_ := set $ids (printf "tenants.list.%s" $id) $id -}}{{- end -}}
{{- with .Values.tenants.default -}}{{- $_ := set $ids "tenants.default" . -}}{{- end -}}
{{- if not $ids }}
tenants.list is empty while tenants.enabled is true: Tempo would take spans of nobody. Name the tenants, or one in tenants.default.
{{- end -}}
{{- range $key, $id := $ids -}}
{{- if has $id (list "." ".." "*") }}
{{ $key }} is {{ $id | quote }}: not the name of a tenant, but of {{ ternary "all that have no limits of their own" "a folder" (eq $id "*") }}. Give it another name.
{{- else if not (regexMatch "^[-a-zA-Z0-9!_.*'()]{1,150}$" $id) }}
{{ $key }} is {{ $id | quote }}: Tempo refuses such a tenant. Write at most 150 of a-z, A-Z, 0-9 and !-_.*'().
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Common receivers need a tenant, and a tenant without receivers gets nothing. */}}
{{- define "tempo-stack.validate.tenantReceivers" -}}
{{- if and (include "tempo-stack.tenants.named" .) .Values.otelCollector.enabled -}}
{{- $on := list -}}
{{- range $key, $receiver := omit .Values.otelCollector.receivers "maxRequestMiB" "maxConnectionAge" -}}
{{- if and (kindIs "map" $receiver) $receiver.enabled -}}{{- $on = append $on (printf "otelCollector.receivers.%s.enabled" $key) -}}{{- end -}}
{{- end -}}
{{- if and $on (not .Values.tenants.default) }}
tenants.default is empty while {{ join ", " $on }} {{ ternary "is" "are" (eq (len $on) 1) }} true: what comes in there would have no tenant. Name one, or switch {{ ternary "this receiver" "these receivers" (eq (len $on) 1) }} off.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Over UDP nobody can show a credential. */}}
{{- define "tempo-stack.validate.tenantUdp" -}}
{{- if and (include "tempo-stack.tenants.named" .) .Values.otelCollector.enabled (not (include "tempo-stack.otelCollector.guarded" .)) -}}
{{- range $key := list "jaegerThriftCompact" "jaegerThriftBinary" -}}
{{- if (get $.Values.otelCollector.receivers $key).enabled }}
otelCollector.receivers.{{ $key }}.enabled is true while tenants.enabled is true: whoever sends over UDP can't say who they are, and would write into {{ default "a tenant" $.Values.tenants.default }}. Switch this receiver off, and have its clients send to jaegerThriftHttp or OTLP.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Who doesn't say who they are belongs to no tenant. */}}
{{- define "tempo-stack.validate.tenantAuth" -}}
{{- if and (include "tempo-stack.tenants.named" .) .Values.otelCollector.enabled -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if not $tenant.ports -}}
{{- else if not (has $tenant.auth.type (list "bearer" "basic" "none")) }}
tenants.list.{{ $id }}.auth.type is {{ $tenant.auth.type | quote }}: not a way to authenticate that a tenant's receivers know. Set it to bearer, basic or none.
{{- else if and (ne $tenant.auth.type "none") (not $tenant.auth.existingSecret) }}
tenants.list.{{ $id }}.auth.existingSecret is empty: there would be nothing to compare with. Set it to a Secret whose key {{ $tenant.auth.existingSecretKey }} holds {{ ternary "one token a line" "the lines of an htpasswd file" (eq $tenant.auth.type "bearer") }}, or auth.type to none beside tenants.acceptUnauthenticated.
{{- else if and (eq $tenant.auth.type "none") $tenant.auth.existingSecret }}
tenants.list.{{ $id }}.auth.existingSecret is {{ $tenant.auth.existingSecret }} while its auth.type is none: nothing would read it. Set the type to bearer or basic, or leave the Secret out.
{{- else if and (eq $tenant.auth.type "none") (not $.Values.tenants.acceptUnauthenticated) }}
tenants.list.{{ $id }}.auth.type is none: whoever reaches its port would write in its name. Set it to bearer or basic, or tenants.acceptUnauthenticated to true if the network keeps others out.
{{- end -}}
{{- end -}}
{{- $open := not (or (include "tempo-stack.otelCollector.hasAuth" .) (and .Values.otelCollector.tls.enabled .Values.otelCollector.tls.clientCa.existingSecret)) -}}
{{- $common := dig "service" "pipelines" "traces" "receivers" list (include "tempo-stack.otelCollector.config" . | fromYaml) -}}
{{- if and .Values.tenants.default $common $open (not .Values.tenants.acceptUnauthenticated) }}
tenants.default is {{ .Values.tenants.default }} while otelCollector.auth.type is none: whoever reaches the common receivers would write in its name. Set otelCollector.auth or otelCollector.tls.clientCa, switch otelCollector.receivers off, or set tenants.acceptUnauthenticated to true if the network keeps others out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Of two tenants with one credential, each would be let in as the other. */}}
{{- define "tempo-stack.validate.tenantCredentials" -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- $seen := dict -}}
{{- $auth := .Values.otelCollector.auth -}}
{{- if and .Values.tenants.default $auth.existingSecret -}}
{{- $_ := set $seen (printf "key %s of Secret %s" (include "tempo-stack.otelCollector.auth.key" .) $auth.existingSecret) "otelCollector.auth" -}}
{{- end -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if and $tenant.auth.existingSecret (ne $tenant.auth.type "none") -}}
{{- $credential := printf "key %s of Secret %s" $tenant.auth.existingSecretKey $tenant.auth.existingSecret -}}
{{- if hasKey $seen $credential }}
{{ get $seen $credential }} and tenants.list.{{ $id }}.auth both read {{ $credential }}: who shows what is there could write in either name. Give each a Secret or a key of its own.
{{- end -}}
{{- $_ := set $seen $credential (printf "tenants.list.%s.auth" $id) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A tenant's limits must let in what the Collector sends. */}}
{{- define "tempo-stack.validate.tenantLimits" -}}
{{- if and .Values.tempo.enabled .Values.otelCollector.enabled (not .Values.otelCollector.exporter.endpoint) -}}
{{- $batch := include "tempo-stack.otelCollector.maxBatchBytes" . | int64 -}}
{{- $all := include "tempo-stack.tempo.tenantOverrides" (dict "ctx" . "over" dict) | fromYaml -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- $burst := dig "ingestion" "burst_size_bytes" 0 (get $all $id) | int64 -}}
{{- if and $tenant.ports (gt $burst 0) (lt $burst $batch) (or $tenant.limits.ingestBurstBytes $tenant.overrides.ingestion) }}
tenants.list.{{ $id }}.limits.ingestBurstBytes is {{ $burst }}: Tempo would refuse the largest batch of the Collector ({{ $batch }} bytes) for ever. Set it to {{ $batch }} or more, or lower otelCollector.receivers.maxRequestMiB.
{{- end -}}
{{- range $key, $_ := $tenant.limits -}}
{{- if not (has $key (list "ingestBytesPerSecond" "ingestBurstBytes" "maxLiveTraces" "maxBytesPerTrace")) }}
tenants.list.{{ $id }}.limits.{{ $key }} is set: nothing reads it. There are ingestBytesPerSecond, ingestBurstBytes, maxLiveTraces and maxBytesPerTrace; what else Tempo has goes into tenants.list.{{ $id }}.overrides.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* As for tempo.retention.period. */}}
{{- define "tempo-stack.validate.tenantRetention" -}}
{{- if .Values.tempo.enabled -}}
{{- $poll := dig "storage" "trace" "blocklist_poll" "5m" (include "tempo-stack.tempo.config" . | fromYaml) -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if $tenant.retention -}}
{{- $seconds := include "tempo-stack.duration.seconds" $tenant.retention -}}
{{- $pollSeconds := include "tempo-stack.duration.seconds" $poll | default "0" -}}
{{- if not (int64 $seconds) }}
tenants.list.{{ $id }}.retention is {{ toString $tenant.retention | quote }}: not a duration. Write weeks, days, hours, minutes and seconds in this order, for example 2w, 3d, 1d12h or 30m, or leave it out for that of tempo.retention.period.
{{- else if lt (int64 $seconds) (int64 $pollSeconds) }}
tenants.list.{{ $id }}.retention is {{ $tenant.retention | quote }}: shorter than the {{ $poll }} after which queriers learn of deleted blocks (storage.trace.blocklist_poll). Keep traces longer, or set tempo.config.storage.trace.blocklist_poll to less.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Each tenant may send at its rate at the same time; see tempoMemory for the measurement. */}}
{{- define "tempo-stack.validate.tenantMemory" -}}
{{- if and .Values.tempo.enabled (include "tempo-stack.tenants.named" .) (not (include "tempo-stack.tempo.isFleet" .)) -}}
{{- with include "tempo-stack.memoryLimit" .Values.tempo.resources -}}
{{- $most := div (int64 .) 15 -}}
{{- $sum := 0 -}}
{{- $tenants := include "tempo-stack.tempo.tenantOverrides" (dict "ctx" $ "over" dict) | fromYaml -}}
{{- range $tenants -}}{{- $sum = add $sum (dig "ingestion" "rate_limit_bytes" 0 . | int64) -}}{{- end -}}
{{- if gt $sum $most }}
tenants.list lets {{ len $tenants }} tenants send {{ $sum }} bytes per second together: with tempo.resources.limits.memory at {{ include "tempo-stack.scalar" $.Values.tempo.resources.limits.memory }} Tempo would be killed before it comes to that. Lower tenants.list.<tenant>.limits.ingestBytesPerSecond or tempo.limits.ingestBytesPerSecond, so that they come to {{ $most }} or less, or raise the memory limit.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tenantVersion" -}}
{{- if and .Values.tempo.enabled (include "tempo-stack.tenants.named" .) (include "tempo-stack.tempo.version" .) (not (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0"))) -}}
tenants.enabled is true with Tempo {{ include "tempo-stack.tempo.version" . }}: the chart writes tenants for Tempo 2.9 and later. Set tempo.image.tag to 2.10.8, or tenants.enabled to false.
{{- end -}}
{{- end }}

{{/* Tempo reads one file of overrides. */}}
{{- define "tempo-stack.validate.tenantOverrides" -}}
{{- if and .Values.tempo.enabled (include "tempo-stack.tenants.named" .) (not (include "tempo-stack.tempo.guardsDisk" .)) -}}
{{- with ((.Values.tempo.config).overrides).per_tenant_override_config -}}
tempo.config.overrides.per_tenant_override_config is {{ . }} while tenants.enabled is true: Tempo would not read the limits and retentions of tenants.list. Leave it out, and write what stands in that file into tenants.list.<tenant>.overrides.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Tempo would mix up all of them, or the test would ask for nobody's spans. */}}
{{- define "tempo-stack.validate.tenantSwitch" -}}
{{- if and .Values.tempo.enabled (include "tempo-stack.tenants.named" .) -}}
{{- if not (include "tempo-stack.tempo.config" . | fromYaml).multitenancy_enabled }}
tempo.config.multitenancy_enabled is false while tenants.enabled is true: Tempo would keep the spans of all tenants as one. Leave it out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* otelCollector.config is merged last, and could let a tenant in as another one. */}}
{{- define "tempo-stack.validate.tenantConfig" -}}
{{- if and (include "tempo-stack.tenants.named" .) .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- range $way := include "tempo-stack.tenants.ways" . | fromYamlArray -}}
{{- $pipeline := dig "service" "pipelines" $way.pipeline dict $config | default dict -}}
{{- range $id := $pipeline.exporters -}}
{{- $header := include "tempo-stack.tenants.header" (dig "exporters" $id "headers" dict $config) -}}
{{- if and (hasPrefix "otlp" $id) (ne $header $way.tenant) }}
otelCollector.config sends what comes in for {{ $way.tenant }} by the exporter {{ $id }} with {{ ternary (printf "the tenant %s" $header) "no tenant" (ne $header "") }}: leave the header X-Scope-OrgID and the exporters of service.pipelines.{{ $way.pipeline }} as the chart has them.
{{- end -}}
{{- end -}}
{{- if and $way.receiver (ne (toJson $pipeline.receivers) (toJson (list $way.receiver))) }}
otelCollector.config.service.pipelines.{{ $way.pipeline }}.receivers is {{ toJson $pipeline.receivers }}: what comes in by others would be stored in the name of {{ $way.tenant }}. Leave it out.
{{- end -}}
{{- end -}}
{{- range include "tempo-stack.tenants.receiverList" . | fromYamlArray -}}
{{- $found := dig "auth" "authenticator" "" (include "tempo-stack.otelCollector.receiverBlock" (dict "config" $config "row" .) | fromYaml) -}}
{{- if ne $found .authenticator }}
{{ include "tempo-stack.otelCollector.receiverKey" . }}.auth.authenticator is {{ default "removed" $found }}: whoever isn't {{ .tenant }} could write in its name. Leave auth out of otelCollector.config, and set tenants.list.{{ .tenant }}.auth.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tenantTest" -}}
{{- with .Values.helmTest.client.tenant -}}
{{- if not (hasKey (include "tempo-stack.tenants" $ | fromYaml) .) -}}
helmTest.client.tenant is {{ . }}: {{ if $.Values.tenants.enabled }}there is no such tenant. Set it to one of tenants.list, or leave it out{{ else }}tenants.enabled is false. Leave it out, or switch tenants on{{ end }}.
{{- end -}}
{{- end -}}
{{- end }}
