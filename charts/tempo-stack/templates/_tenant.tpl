{{/*
Tenants: whether Tempo asks for one, which there are, and by which way their spans come in and go out.
*/}}

{{/* "true" where tenants are named in the values. Parameter: root context. */}}
{{- define "tempo-stack.tenants.named" -}}
{{- if .Values.tenants.enabled -}}true{{- end -}}
{{- end }}

{{- define "tempo-stack.tempo.hasTenants" -}}
{{- if or (include "tempo-stack.tenants.named" .) (.Values.tempo.config | default dict).multitenancy_enabled -}}true{{- end -}}
{{- end }}

{{/* The tenant in the exporter's headers, whose names have no case; empty where there is none. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.tenantHeader" -}}
{{- $exporters := (include "tempo-stack.otelCollector.config" . | fromYaml).exporters | default dict -}}
{{- include "tempo-stack.tenants.header" (get $exporters (include "tempo-stack.otelCollector.exporterId" .) | default dict).headers -}}
{{- end }}

{{/* The tenant in a map of headers. Parameter: the map, or nothing. */}}
{{- define "tempo-stack.tenants.header" -}}
{{- range $name, $value := . | default dict -}}
{{- if eq (lower $name) "x-scope-orgid" -}}{{- $value -}}{{- end -}}
{{- end -}}
{{- end }}

{{/*
The tenant of the test, and of the datasource where tenants aren't named: only a text that the Collector doesn't expand.
Parameter: root context.
*/}}
{{- define "tempo-stack.tenant" -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- (include "tempo-stack.test.way" . | fromYaml).tenant -}}
{{- else if and (include "tempo-stack.tempo.hasTenants" .) .Values.otelCollector.enabled -}}
{{- $tenant := include "tempo-stack.otelCollector.tenantHeader" . -}}
{{- if not (contains "$" $tenant) -}}{{- $tenant -}}{{- end -}}
{{- end -}}
{{- end }}

{{/* The tenants by their ids, with what their values leave out. Parameter: root context. */}}
{{- define "tempo-stack.tenants" -}}
{{- $tenants := dict -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- with .Values.tenants.default -}}{{- $_ := set $tenants . dict -}}{{- end -}}
{{- range $id, $values := .Values.tenants.list -}}{{- $_ := set $tenants $id (deepCopy ($values | default dict)) -}}{{- end -}}
{{- range $id, $tenant := $tenants -}}
{{- $auth := merge dict ($tenant.auth | default dict) (dict "type" "bearer" "existingSecret" "") -}}
{{- if not $auth.existingSecretKey -}}
{{- $_ := set $auth "existingSecretKey" (include "tempo-stack.otelCollector.auth.defaultKey" $auth.type) -}}
{{- end -}}
{{- $ports := dict -}}
{{- range $key, $port := $tenant.ports -}}{{- if $port -}}{{- $_ := set $ports $key (int $port) -}}{{- end -}}{{- end -}}
{{- $_ := set $tenants $id (merge (dict "auth" $auth "ports" $ports) $tenant (dict "retention" "" "limits" dict "overrides" dict "datasource" true)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $tenants -}}
{{- end }}

{{/* A tenant's id as a part of names in Kubernetes and Grafana: as it is, or its hash. Parameter: the id. */}}
{{- define "tempo-stack.tenants.slug" -}}
{{- if regexMatch "^[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?$" . -}}{{- . -}}{{- else -}}t-{{- sha256sum . | trunc 10 -}}{{- end -}}
{{- end }}

{{/*
The ways through the Collector, each a pipeline with an exporter, or one for each mirror: that of the common receivers,
and one for each tenant with receivers of its own. Parameter: root context. A row has:
  pipeline   its id
  tenant     whose spans it carries; empty: there are no tenants
  receiver   id of the tenant's receiver; empty: the common ones
  exporters  ids of its exporters, by the ordinals of mirrors
An id of an exporter is also the name of a queue's file ("exporter_otlp_tenant-team-a_traces"), so none ever changes.
*/}}
{{- define "tempo-stack.tenants.ways" -}}
{{- $exporter := include "tempo-stack.otelCollector.exporterId" . -}}
{{- $mirrored := include "tempo-stack.tempo.mirrored" . -}}
{{- $ways := list -}}
{{- if or (not (include "tempo-stack.tenants.named" .)) .Values.tenants.default -}}
{{- $ids := list $exporter -}}
{{- if $mirrored -}}{{- $ids = append $ids (printf "%s/mirror-1" $exporter) -}}{{- end -}}
{{- $tenant := ternary .Values.tenants.default "" .Values.tenants.enabled -}}
{{- $ways = append $ways (dict "pipeline" "traces" "tenant" $tenant "receiver" "" "exporters" $ids) -}}
{{- end -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if $tenant.ports -}}
{{- $ids := list (printf "%s/tenant-%s" $exporter $id) -}}
{{- if $mirrored -}}{{- $ids = append $ids (printf "%s/mirror-1-tenant-%s" $exporter $id) -}}{{- end -}}
{{- $ways = append $ways (dict "pipeline" (printf "traces/tenant-%s" $id) "tenant" $id "receiver" (printf "otlp/tenant-%s" $id) "exporters" $ids) -}}
{{- end -}}
{{- end -}}
{{- toYaml $ways -}}
{{- end }}

{{/* Id of the extension that compares what a tenant's clients show; empty where they show nothing. Parameters: id, tenant (of "tempo-stack.tenants"). */}}
{{- define "tempo-stack.tenants.extensionId" -}}
{{- $extension := get (dict "bearer" "bearertokenauth" "basic" "basicauth") .tenant.auth.type -}}
{{- if and $extension .tenant.ports -}}{{- printf "%s/tenant-%s" $extension .id -}}{{- end -}}
{{- end }}

{{/* "true" where a tenant's receivers ask who sends. Parameter: root context. */}}
{{- define "tempo-stack.tenants.ask" -}}
{{- $asks := "" -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if include "tempo-stack.tenants.extensionId" (dict "id" $id "tenant" $tenant) -}}{{- $asks = "true" -}}{{- end -}}
{{- end -}}
{{- $asks -}}
{{- end }}

{{/* Those extensions, as a map. Parameter: root context. */}}
{{- define "tempo-stack.tenants.extensions" -}}
{{- $extensions := dict -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- with include "tempo-stack.tenants.extensionId" (dict "id" $id "tenant" $tenant) -}}
{{- $file := printf "%s/tenant-%s/credentials" (include "tempo-stack.otelCollector.doorPath" $) (include "tempo-stack.tenants.slug" $id) -}}
{{- $_ := set $extensions . (ternary (dict "filename" $file) (dict "htpasswd" (dict "file" $file)) (eq $tenant.auth.type "bearer")) -}}
{{- end -}}
{{- end -}}
{{- toYaml $extensions -}}
{{- end }}

{{/* The Secrets behind them, as "tempo-stack.otelCollector.doorVolumes" takes them. Parameter: root context. */}}
{{- define "tempo-stack.tenants.secrets" -}}
{{- $secrets := dict -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if include "tempo-stack.tenants.extensionId" (dict "id" $id "tenant" $tenant) -}}
{{- $items := dict "credentials" $tenant.auth.existingSecretKey -}}
{{- $_ := set $secrets (printf "tenant-%s" (include "tempo-stack.tenants.slug" $id)) (dict "secret" $tenant.auth.existingSecret "items" $items) -}}
{{- end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end }}

{{/* The receivers of tenants, as rows of "tempo-stack.otelCollector.receiverList". Parameter: root context. */}}
{{- define "tempo-stack.tenants.receiverList" -}}
{{- $rows := list -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- range $key, $_ := $tenant.ports -}}
{{- $rows = append $rows (dict
  "key" (printf "tenants.list.%s.ports.%s" $id $key)
  "receiver" (printf "otlp/tenant-%s" $id)
  "protocol" (ternary "grpc" "http" (eq $key "otlpGrpc"))
  "path" (printf "protocols.%s" (ternary "grpc" "http" (eq $key "otlpGrpc")))
  "tenant" $id
  "authenticator" (include "tempo-stack.tenants.extensionId" (dict "id" $id "tenant" $tenant))) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* The ports of tenants, by the paths of their values. Parameter: root context. */}}
{{- define "tempo-stack.tenants.ports" -}}
{{- $ports := dict -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- range $key, $port := $tenant.ports -}}
{{- $_ := set $ports (printf "tenants.list.%s.ports.%s" $id $key) (dict
  "name" (printf "tenant-%d" (int $port))
  "port" (int $port)
  "protocol" "TCP"
  "appProtocol" (ternary "https" (ternary "grpc" "http" (eq $key "otlpGrpc")) $.Values.otelCollector.tls.enabled)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $ports -}}
{{- end }}

{{/*
The pipelines, from the ways. A tenant's takes the processors of the common one, so that what the user puts in there is in all.
Parameters: ctx, lists (ids of the chart's receivers, processors and exporters that are left), user (otelCollector.config).
*/}}
{{- define "tempo-stack.tenants.pipelines" -}}
{{- $lists := .lists -}}
{{- $processors := dig "service" "pipelines" "traces" "processors" $lists.processors .user -}}
{{- $ways := include "tempo-stack.tenants.ways" .ctx | fromYamlArray -}}
{{- $receivers := list -}}
{{- range $ways -}}{{- $receivers = append $receivers .receiver -}}{{- end -}}
{{- $pipelines := dict -}}
{{- range $ways -}}
{{- $way := . -}}
{{- $exporters := list -}}
{{- range $lists.exporters -}}{{- if has . $way.exporters -}}{{- $exporters = append $exporters . -}}{{- end -}}{{- end -}}
{{- if $way.receiver -}}
{{- $_ := set $pipelines .pipeline (dict "receivers" (list .receiver) "processors" $processors "exporters" $exporters) -}}
{{- else -}}
{{- $common := list -}}
{{- range $lists.receivers -}}{{- if not (has . $receivers) -}}{{- $common = append $common . -}}{{- end -}}{{- end -}}
{{- $_ := set $pipelines .pipeline (dict "receivers" $common "processors" $lists.processors "exporters" $exporters) -}}
{{- end -}}
{{- end -}}
{{- toYaml $pipelines -}}
{{- end }}

{{/*
What Tempo's file has with tenants named. Their limits and retentions are in a file that Tempo reads again while it runs:
that of the volume's guard, where there is one. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.config.tenants" -}}
{{- $config := dict -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- $_ := set $config "multitenancy_enabled" true -}}
{{- if not (include "tempo-stack.tempo.guardsDisk" .) -}}
{{- $_ := set $config "overrides" (dict "per_tenant_override_config" "/etc/tempo/tenants.yaml" "per_tenant_override_period" "10s") -}}
{{- end -}}
{{- if and (include "tempo-stack.tempo.generatesMetrics" .) .Values.tenants.metricsLabel -}}
{{- $_ := set $config "metrics_generator" (dict "registry" (dict "inject_tenant_id_as" .Values.tenants.metricsLabel)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/*
What stands in an override of Tempo's defaults again, because it replaces all of them: those of the chart, and those of
Tempo itself that are no zero (modules/overrides/config.go). Without them a tag's values would have no limit, and from
2.10 on nobody would be told that a request which the rate refuses may be sent again: the Collector would drop it.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.overrides" -}}
{{- $overrides := dict "read" (dict "max_bytes_per_tag_values_query" 1000000) -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.10.0") -}}
{{- $_ := set $overrides "ingestion" (dict "retry_info_enabled" true) -}}
{{- end -}}
{{- $config := include "tempo-stack.tempo.config" . | fromYaml -}}
{{- include "tempo-stack.config.merge" (dict "into" $overrides "from" (($config.overrides).defaults | default dict)) -}}
{{- toYaml $overrides -}}
{{- end }}

{{/* The tenants' overrides. Parameters: ctx, over (what has the last word, as a map). */}}
{{- define "tempo-stack.tempo.tenantOverrides" -}}
{{- $over := .over -}}
{{- $defaults := include "tempo-stack.tempo.overrides" .ctx | fromYaml -}}
{{- $paths := dict
  "ingestBytesPerSecond" (list "ingestion" "rate_limit_bytes")
  "ingestBurstBytes" (list "ingestion" "burst_size_bytes")
  "maxLiveTraces" (list "ingestion" "max_traces_per_user")
  "maxBytesPerTrace" (list "global" "max_bytes_per_trace") -}}
{{- $all := dict -}}
{{- range $id, $tenant := include "tempo-stack.tenants" .ctx | fromYaml -}}
{{- $own := deepCopy $defaults -}}
{{- with $tenant.retention -}}
{{- $retention := dict "compaction" (dict "block_retention" (include "tempo-stack.duration.go" .)) -}}
{{- include "tempo-stack.config.merge" (dict "into" $own "from" $retention) -}}
{{- end -}}
{{- range $key, $value := $tenant.limits -}}
{{- if and (not (kindIs "invalid" $value)) (hasKey $paths $key) -}}
{{- $path := get $paths $key -}}
{{- include "tempo-stack.config.merge" (dict "into" $own "from" (dict (first $path) (dict (last $path) (int64 $value)))) -}}
{{- end -}}
{{- end -}}
{{- include "tempo-stack.config.merge" (dict "into" $own "from" ($tenant.overrides | default dict)) -}}
{{- include "tempo-stack.config.merge" (dict "into" $own "from" (deepCopy $over)) -}}
{{- $_ := set $all $id $own -}}
{{- end -}}
{{- toYaml $all -}}
{{- end }}

{{/* The longest time for which traces are kept, in seconds. Parameter: root context. */}}
{{- define "tempo-stack.tempo.longestRetention" -}}
{{- $longest := include "tempo-stack.duration.seconds" .Values.tempo.retention.period | int64 -}}
{{- range include "tempo-stack.tenants" . | fromYaml -}}
{{- $longest = max $longest (include "tempo-stack.duration.seconds" .retention | int64) -}}
{{- end -}}
{{- $longest -}}
{{- end }}
