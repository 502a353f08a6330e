{{/*
Guards: one define per rule, which prints what is wrong with which key and what to do, or nothing.
"tempo-stack.validate" runs them all and fails with everything they found.
*/}}
{{- define "tempo-stack.validate" -}}
{{- $found := list -}}
{{- range list
  "keys" "components" "serviceNames" "ports" "quantities" "size" "sizeThroughput"
  "tempoReplicas" "tempoVersion" "tempoConfigBlocks" "tempoConfigPorts" "tempoConfigCredentials"
  "tempoRetention" "tempoRetentionPoll" "tempoExistingClaim" "tempoAccessMode"
  "tempoBackend" "tempoStoreName" "tempoS3Endpoint" "tempoS3Credentials" "tempoS3KeyPair"
  "tempoS3Session" "tempoS3Ca" "tempoS3Sse" "tempoS3StorageClass" "tempoGcs" "tempoAzure" "tempoAzurePrefix" "tempoCache"
  "collectorVersion" "collectorExporter" "collectorReceivers" "collectorConfigPorts" "collectorPipelines"
  "collectorMemoryLimiter" "collectorAutoscaling" "collectorQueueType" "collectorQueuePersistence" "collectorQueueSize"
  "serviceFields" "serviceTraffic" "serviceFamilies" "serviceNodePorts" "collectorExtraPorts" "extraVolumes" "extraEnv"
  "tempoStorePrefix" "tempoS3KeyText" "tempoConfigOverrides" "tempoTenant" "tempoLimits" "tempoMemory"
  "tempoMode" "tempoIngesters" "tempoKafka" "tempoComponentKeys"
  "tempoAutoscaling" "spreadByZone"
  "tempoDiskReserve" "tempoDiskOverrides" "tempoDiskExpected"
  "traceqlRange" "traceqlMemory" "generatorTargets" "generatorProcessors" "generatorOverrides" "generatorNames" "generatorUrls"
  "generatorCredentials" "generatorDimensions" "generatorBuckets" "generatorInterval" "generatorVersion"
  "collectorConfigExtensions" "collectorConfigHealth" "collectorConfigMetrics" "collectorConfigReceivers" "collectorConfigUnused"
  "mirrorVolume" "mirrorVersion" "mirrorCollector" "mirrorExporter" "mirrorGenerator" "mirrorPrefix" "mirrorPorts"
  "doorCertificate" "doorVersion" "doorAuth" "doorUdp" "doorImage" "doorConfig" "kafkaReceiver" "kafkaReceiverKeys" "kafkaReceiverImage" "kafkaReceiverPipeline" "tempoTls" "exporterTls"
  "policyOff" "policyPeers" "policyOutside"
  "tenantIds" "tenantReceivers" "tenantUdp" "tenantAuth" "tenantCredentials" "tenantLimits" "tenantRetention" "tenantMemory"
  "tenantVersion" "tenantOverrides" "tenantSwitch" "tenantConfig" "tenantTest"
  "monitorTimeout" "alertNames" "alertLabels" "alertWindow"
  "presetImage" "presetVersion" "presetPipeline" "presetRedaction" "presetPatterns" "presetKubernetes" "presetKubernetesAccount"
  "samplingReplicas" "samplingKeep" "samplingMemory"
  "grafanaDashboards" "canary"
  "queryProxyTempo" "queryProxyAuth" "queryProxyTls" "queryProxyTenants" "queryProxyPorts" "grafanaCredentials"
  "routesTo" "routesKind" "routesFields" "routesUnauthenticated" -}}
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
{{- if .Values.queryProxy.enabled -}}{{- $_ := set $names "queryProxy.service.name" (include "tempo-stack.queryProxy.serviceName" .) -}}{{- end -}}
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
{{- range $key, $port := merge (include "tempo-stack.tempo.ports" . | fromYaml) (include "tempo-stack.tempo.diskPorts" . | fromYaml) -}}
{{- $list = append $list (dict "key" (printf "tempo.service.ports.%s" $key) "protocol" $port.protocol "port" $port.port) -}}
{{- end -}}
{{- $_ := set $components "Tempo" $list -}}
{{- end -}}
{{- if .Values.otelCollector.enabled -}}
{{- $list := list (dict "key" "otelCollector.internalPorts.healthCheck" "protocol" "TCP" "port" .Values.otelCollector.internalPorts.healthCheck) -}}
{{- range $key, $port := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- if not (hasPrefix "tenants." $key) -}}
{{- $key = printf "otelCollector.service.%s%s" (ternary "" "ports." (hasPrefix "extraPorts." $key)) $key -}}
{{- end -}}
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
{{- with $tempo.disk.guard.reserve -}}{{- $_ := set $quantities "tempo.disk.guard.reserve" . -}}{{- end -}}
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

{{/* Volumes and mounts of the user are joined with the chart's own. */}}
{{- define "tempo-stack.validate.extraVolumes" -}}
{{- $names := list "config" "data" "ingest" "storage" -}}
{{- $paths := list "/etc/tempo" (include "tempo-stack.tempo.storage.path" .) (include "tempo-stack.tempo.dataPath" .) (include "tempo-stack.tempo.disk.path" .) (include "tempo-stack.tempo.remoteWrite.path" .) -}}
{{- range include "tempo-stack.tempo.remoteWrite.volumes" . | fromYamlArray -}}{{- $names = append $names .name -}}{{- end -}}
{{- $own := dict
  "tempo" (dict "names" $names "paths" $paths)
  "otelCollector" (dict "names" (list "config" "queue") "paths" (list "/etc/otelcol" (include "tempo-stack.otelCollector.queuePath" .))) -}}
{{- range $folder, $volume := include "tempo-stack.otelCollector.doorVolumes" . | fromYaml -}}
{{- $_ := set $own.otelCollector "names" (append $own.otelCollector.names $volume.name) -}}
{{- $_ := set $own.otelCollector "paths" (append $own.otelCollector.paths (printf "%s/%s" (include "tempo-stack.otelCollector.doorPath" $) $folder)) -}}
{{- end -}}
{{- range $folder, $volume := include "tempo-stack.tempo.tlsVolumes" . | fromYaml -}}
{{- $_ := set $own.tempo "names" (append $own.tempo.names $volume.name) -}}
{{- $_ := set $own.tempo "paths" (append $own.tempo.paths (printf "%s/%s" (include "tempo-stack.tempo.tlsPath" $) $folder)) -}}
{{- end -}}
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

{{- define "tempo-stack.validate.grafanaDashboards" -}}
{{- with .Values.grafana.dashboards -}}
{{- if and .enabled (not .datasourceUid) -}}
grafana.dashboards.datasourceUid is empty while grafana.dashboards.enabled is true: the panels would ask no datasource. Set it to the uid of the Prometheus datasource, which Grafana shows in the address of the datasource's page, or set grafana.dashboards.enabled to false.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.canary" -}}
{{- if and .Values.canary.enabled (not (include "tempo-stack.test.possible" .)) }}
{{- $missing := list -}}
{{- if not .Values.tempo.enabled -}}{{- $missing = append $missing "tempo.enabled is false" -}}{{- end -}}
{{- if not .Values.otelCollector.enabled -}}{{- $missing = append $missing "otelCollector.enabled is false" -}}{{- end -}}
{{- if include "tempo-stack.test.way" . | fromYaml | dig "url" "" -}}
{{- else if include "tempo-stack.tenants.named" . -}}{{- $missing = append $missing "no tenant (or not that of helmTest.client.tenant) has ports.otlpHttp" -}}
{{- else -}}{{- $missing = append $missing "otelCollector.receivers.otlpHttp.enabled is false" -}}{{- end -}}
{{- if include "tempo-stack.test.lacksKey" . -}}{{- $missing = append $missing "helmTest.client has no Secret with what the Collector asks for (certificateSecret or credentialsSecret)" -}}{{- end }}
canary.enabled is true while {{ default "the Collector takes the tenant from its environment" (join " and " $missing) }}: it could not send a span or not find it. Change that, or set canary.enabled to false.
{{- end -}}
{{- end }}

{{/* An alert that doesn't exist can neither be left out nor told how long to wait. */}}
{{- define "tempo-stack.validate.alertNames" -}}
{{- if .Values.prometheusRule.enabled -}}
{{- $known := dict -}}
{{- range .Files.Get "files/alerts.yaml" | fromYamlArray -}}
{{- range .rules -}}{{- with .alert -}}{{- $_ := set $known . true -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range $key, $more := dict "without" dict "for" (dict "default" true) -}}
{{- $names := merge $more $known -}}
{{- range $name, $value := get $.Values.prometheusRule $key -}}
{{- if not (hasKey $names $name) }}
prometheusRule.{{ $key }}.{{ $name }} is {{ $value }}: there is no such alert. {{ include "tempo-stack.keys.meant" (dict "key" $name "path" (printf "prometheusRule.%s.%s" $key $name) "known" $names "table" (dict "defaults" dict) "peers" (dict "here" dict "none" dict) "above" "") }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.alertLabels" -}}
{{- with .Values.prometheusRule -}}
{{- if and .enabled (hasKey .alertLabels "severity") }}
prometheusRule.alertLabels.severity is {{ .alertLabels.severity }}: each alert has a severity of its own. Leave it out, and give a label of another name.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A rate needs two samples; with four in its window a lost scrape changes nothing. */}}
{{- define "tempo-stack.validate.alertWindow" -}}
{{- $monitor := .Values.serviceMonitor -}}
{{- $rule := .Values.prometheusRule -}}
{{- if and $rule.enabled $monitor.enabled -}}
{{- $least := include "tempo-stack.duration.milliseconds" $monitor.interval | int64 | mul 4 -}}
{{- if lt (include "tempo-stack.duration.seconds" $rule.rateWindow | int64 | mul 1000) $least }}
prometheusRule.rateWindow is {{ $rule.rateWindow }} while serviceMonitor.interval is {{ $monitor.interval }}: after one lost scrape there would be too few samples for a rate. Set rateWindow to {{ divf $least 1000 | ceil }}s or more.
{{- end -}}
{{- end -}}
{{- end }}
