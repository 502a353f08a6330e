{{/* What helm says after an installation, here and in a chart above. Parameter: root context. */}}
{{- define "tempo-stack.notes" -}}
{{- $tempo := .Values.tempo -}}
{{- $collector := .Values.otelCollector -}}
{{- if $collector.enabled -}}
Send spans to the Collector:
{{- if $collector.receivers.otlpGrpc.enabled }}
  OTLP gRPC  {{ include "tempo-stack.otelCollector.otlpGrpcEndpoint" . }}
{{- end }}
{{- if $collector.receivers.otlpHttp.enabled }}
  OTLP HTTP  {{ include "tempo-stack.otelCollector.otlpHttpEndpoint" . }}

An OpenTelemetry SDK sends there, whatever its default protocol is, with
  export OTEL_EXPORTER_OTLP_ENDPOINT={{ include "tempo-stack.otelCollector.otlpHttpEndpoint" . }}
  export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
{{- else if $collector.receivers.otlpGrpc.enabled }}

OTLP over HTTP is off, which most OpenTelemetry SDKs use by default; for gRPC they need
  export OTEL_EXPORTER_OTLP_ENDPOINT={{ include "tempo-stack.otelCollector.scheme" . }}://{{ include "tempo-stack.otelCollector.otlpGrpcEndpoint" . }}
  export OTEL_EXPORTER_OTLP_PROTOCOL=grpc
{{- end }}
{{- if or $collector.receivers.jaegerThriftCompact.enabled $collector.receivers.jaegerThriftBinary.enabled }}

Jaeger over UDP is on: one crafted packet ends Collector 0.155 (opentelemetry-collector-contrib issue 50358). It starts again, and what it acknowledged is kept.
{{- end }}
{{- with include "tempo-stack.notes.doors" . }}

{{ . }}
{{- end }}
{{- with include "tempo-stack.notes.tenants" . }}

{{ . }}
{{- end }}

The Collector sends them to {{ include "tempo-stack.otelCollector.exporterEndpoint" . }}.
{{- if eq $collector.queue.type "memory" }}
Spans that wait for it are in memory: a crash of the Collector loses them, and so does the removal of its pod while Tempo stays away.
{{- else if $collector.queue.persistence.enabled }}
Spans that wait for it are on a claim per replica: they survive a crash of the Collector and the replacement of its pod.
{{- else }}
Spans that wait for it are on an emptyDir: they survive a crash of the Collector, but not the removal of its pod while Tempo is away.
Set otelCollector.queue.persistence.enabled to keep them.
{{- end }}
{{- if not (include "tempo-stack.otelCollector.batchesInQueue" .) }}
Before Collector 0.130 batches are made in memory, in front of the queue: a crash loses what came in within the last 200 ms, and a full queue drops spans that were acknowledged.
{{- end }}
{{ end }}
{{- if $tempo.enabled }}
Query Tempo at {{ include "tempo-stack.tempo.queryUrl" . }}, from your machine with:

  kubectl port-forward --namespace {{ .Release.Namespace }} service/{{ include "tempo-stack.tempo.serviceName" . }} {{ int $tempo.service.ports.http }}
  curl --get http://127.0.0.1:{{ int $tempo.service.ports.http }}/api/search --data-urlencode 'q={}'{{ with include "tempo-stack.tenant" . }} --header 'X-Scope-OrgID: {{ replace "'" "'\\''" . }}'{{ end }}

{{ with include "tempo-stack.notes.queryProxy" . }}{{ . }}

{{ end -}}
Traces are kept for {{ $tempo.retention.period }}{{ if include "tempo-stack.tempo.storage.remote" . }} in {{ include "tempo-stack.tempo.storage.place" . }}{{ end }}.
{{- if eq $tempo.storage.backend "local" }}
At {{ int64 $tempo.disk.bytesPerSpan }} bytes a span, {{ $tempo.persistence.size }} hold the spans of {{ range $n, $rate := list 100 1000 10000 }}{{ if $n }}, {{ end }}{{ include "tempo-stack.tempo.disk.lasts" (dict "ctx" $ "rate" $rate) }} at {{ $rate }} spans/s{{ end }}.
{{- end }}
{{- if include "tempo-stack.tempo.guardsDisk" . }}
While less than {{ include "tempo-stack.mebibytes" (include "tempo-stack.tempo.disk.reserve" .) }} are free, Tempo refuses spans, which wait in the queue of the Collector.
{{- end }}
{{- if $tempo.metricsGenerator.enabled }}
Metrics of spans are sent every {{ $tempo.metricsGenerator.collectionInterval }} to
{{- range $name, $target := $tempo.metricsGenerator.remoteWrite }}
  {{ $target.url }}
{{- end }}
A Prometheus takes them with --web.enable-remote-write-receiver, their exemplars with --enable-feature=exemplar-storage{{ if $tempo.metricsGenerator.nativeHistograms }} and their native histograms with --enable-feature=native-histograms{{ end }}.
{{- end }}
{{- if and (eq (include "tempo-stack.tempo.traceqlRange" .) "off") (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.9.0 <3.0.0")) }}
TraceQL metrics are off, with which Grafana's Traces Drilldown begins: see tempo.traceqlMetrics.range.
{{- end }}
{{- if and $tempo.metricsGenerator.enabled (include "tempo-stack.otelCollector.sampling" . | fromYaml) }}
otelCollector.sampling takes traces away first: those metrics count what is kept.
{{- end }}
{{- if include "tempo-stack.tempo.mirrored" . }}

Two mirrors keep every trace, and {{ include "tempo-stack.tempo.serviceName" . }}:{{ int $tempo.service.ports.http }} leads to those that are settled.
{{- if $collector.receivers.otlpGrpc.enabled }}
Whoever sends to {{ include "tempo-stack.tempo.otlpEndpoint" . }} reaches the Collector, which hands every span to both.
{{- else }}
{{ include "tempo-stack.tempo.serviceName" . }} has no port for OTLP, because otelCollector.receivers.otlpGrpc.enabled is false: what one mirror gets alone, the other would lack.
{{- end }}
A mirror that begins with an empty volume has no older traces: see docs/mirrors.md of the chart for how to copy them.
{{- end }}
{{- if include "tempo-stack.tempo.isFleet" . }}
{{ include "tempo-stack.notes.fleet" . | trim }}
{{- else if not $tempo.persistence.enabled }}
Persistence is off: {{ if include "tempo-stack.tempo.storage.remote" . }}traces that are not in {{ include "tempo-stack.tempo.storage.place" . }} yet{{ else }}all traces{{ end }} are lost when the pod of Tempo is replaced.
{{- else if not $tempo.persistence.existingClaim }}
{{- if include "tempo-stack.tempo.mirrored" . }}
The claims data-{{ include "tempo-stack.tempo.fullname" . }}-0 and -1 stay after `helm uninstall`; delete them by hand if you don't want them any more.
{{- else }}
The claim {{ include "tempo-stack.tempo.claimName" . }} stays after `helm uninstall`; delete it by hand if you don't want it any more.
{{- end }}
{{- end }}
{{- if and (include "tempo-stack.tempo.stateful" .) (not (include "tempo-stack.tempo.isFleet" .)) (not (include "tempo-stack.tempo.mirrored" .)) }}
If its node is lost, Tempo waits for it: see "One Tempo on a volume" in docs/storage.md of the chart.
{{- end }}
{{- if include "tempo-stack.tempo.s3.ownSecretName" . }}
The credentials of the bucket are part of the values of this release: use tempo.storage.s3.existingSecret for anything but a trial.
{{- end }}
{{ end }}
{{- if and .Values.prometheusRule.enabled (not .Values.serviceMonitor.enabled) }}
The alerts read nothing yet: serviceMonitor.enabled is false. Switch it on, or scrape with the labels job and service that it gives; until then they say that Tempo and the Collector can't be reached.
{{ end }}
{{- $datasource := .Values.grafana.datasource }}
{{- if $datasource.enabled }}
{{- with include "tempo-stack.grafana.url" . }}
{{- if include "tempo-stack.tenants.named" $ }}
Each tenant has a datasource of its own, {{ range $n, $of := include "tempo-stack.grafana.datasources" $ | fromYamlArray }}{{ if $n }}, {{ end }}"{{ .name }}" (uid {{ include "tempo-stack.grafana.uid" (dict "ctx" $ "suffix" .suffix) }}){{ end }}.
{{- else }}
Grafana finds the traces of {{ . }} in the datasource "{{ $datasource.name }}" (uid {{ $datasource.uid }}), once {{ if eq $datasource.kind "configMap" }}its sidecar loads ConfigMaps with the label {{ $datasource.label }}={{ $datasource.labelValue }} from the namespace {{ default $.Release.Namespace $datasource.namespace }}{{ else }}the Grafana operator has handed it over{{ end }}.
{{- end }}
{{- else }}
There is no datasource: this release has no Tempo, and grafana.datasource.url is empty.
{{- end }}
{{- end }}
{{- with .Values.grafana.dashboards }}
{{- if .enabled }}
Grafana shows the dashboards of this release in the folder {{ default "of its choice" .folder }}, once {{ if eq .kind "configMap" }}its sidecar loads ConfigMaps with the label {{ .label }}={{ .labelValue }} from the namespace {{ default $.Release.Namespace .namespace }}{{ else }}the Grafana operator has handed them over{{ end }}; their panels ask the datasource with the uid {{ .datasourceUid }}.
{{- if not $.Values.serviceMonitor.enabled }}
They show what Prometheus has of this release: set serviceMonitor.enabled, or scrape it in another way, with the labels namespace, service and job (tempo, otel-collector).
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What is said of a fleet. Parameter: root context. */}}
{{- define "tempo-stack.notes.fleet" -}}
{{- $ingester := .Values.tempo.components.ingester -}}
Tempo runs as {{ range $n, $name := include "tempo-stack.tempo.components" . | fromYaml | keys | sortAlpha }}{{ if $n }}, {{ end }}{{ $name }}{{ end }}: port {{ int .Values.tempo.service.ports.otlpGrpc }} of {{ include "tempo-stack.tempo.serviceName" . }} leads to the distributors, port {{ int .Values.tempo.service.ports.http }} to the query-frontends.
{{- if include "tempo-stack.tempo.onKafka" . }}
{{ include "tempo-stack.notes.kafka" . | trim }}
{{- else if eq (int $ingester.replicationFactor) 1 }}
Each span is on one ingester: one that is killed loses what came in within about a second. Set tempo.components.ingester.replicationFactor to 3 to keep it.
{{- else }}
Each span is on {{ int $ingester.replicationFactor }} ingesters, of which one{{ if $ingester.zones }}, or one zone,{{ end }} may be away.
{{- end }}
{{- if .Values.tempo.persistence.enabled }}
The claims of the {{ ternary "live-stores" "ingesters" (ne "" (include "tempo-stack.tempo.onKafka" .)) }} stay after `helm uninstall`; delete them by hand if you don't want them any more.
{{- else if include "tempo-stack.tempo.onKafka" . }}
Persistence is off: a live-store that is replaced reads again what Kafka has of its partition.
{{- else }}
Persistence is off: traces that are not in the bucket yet are lost when all ingesters that hold them are replaced at once.
{{- end }}
{{- end }}

{{/* What is said of a fleet over Kafka. Parameter: root context. */}}
{{- define "tempo-stack.notes.kafka" -}}
{{- with .Values.tempo.kafka -}}
A span is acknowledged when Kafka at {{ .address }} has it.
{{- if .createTopic }}
Tempo makes the topic {{ .topic }} with {{ int .partitions }} partitions.
{{- else }}
It needs the topic {{ .topic }} with {{ int .partitions }} partitions and max.message.bytes of 16777216: see "A fleet over Kafka" in docs/fleet.md of the chart.
{{- end }}
{{- end -}}
{{- end }}

{{/*
Where later versions come from: `cargo xtask package` writes the addresses into the annotations of an archive's chart.
Parameter: root context of the chart that is installed.
*/}}
{{- define "tempo-stack.notes.published" -}}
{{- $upgrade := printf "helm upgrade %s %%s --namespace %s --reset-then-reuse-values" .Release.Name .Release.Namespace -}}
{{- with index .Chart.Annotations "published/repository" }}
A later version of the chart, from its repository:
  helm repo add tempo-stack {{ . }}
  helm repo update tempo-stack
  {{ printf $upgrade (printf "tempo-stack/%s" $.Chart.Name) }}
{{ end }}
{{- with index .Chart.Annotations "published/registry" }}
A later version of the chart, from its registry:
  {{ printf $upgrade (printf "%s/%s" . $.Chart.Name) }}
{{ end }}
{{- end }}

{{/* What clients need where the receivers ask for more than spans; nothing where they don't. Parameter: root context. */}}
{{- define "tempo-stack.notes.doors" -}}
{{- $collector := .Values.otelCollector -}}
{{- if include "tempo-stack.otelCollector.guarded" . -}}
The receivers ask who sends, or speak TLS only; an SDK needs, too,
{{- if $collector.tls.enabled }}
  export OTEL_EXPORTER_OTLP_CERTIFICATE=<file with the CA of the Secret {{ include "tempo-stack.otelCollector.tls.secretName" . }}>
{{- if $collector.tls.clientCa.existingSecret }}
  export OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=<file with its certificate>
  export OTEL_EXPORTER_OTLP_CLIENT_KEY=<file with the key of it>
{{- end }}
{{- end }}
{{- if eq $collector.auth.type "basic" }}
  export OTEL_EXPORTER_OTLP_HEADERS=Authorization=Basic%20<base64 of name:password>
The users of the Secret {{ $collector.auth.existingSecret }} are read when a Collector starts: restart it after a change.
{{- else if include "tempo-stack.otelCollector.hasAuth" . }}
  export OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20<token>
{{- end }}
{{- if and (include "tempo-stack.otelCollector.hasAuth" .) (not $collector.tls.enabled) }}
What it shows travels as plain text: otelCollector.tls.enabled is false.
{{- end }}
{{- if and .Values.helmTest.enabled (include "tempo-stack.test.lacksKey" .) }}
There is no helm test: helmTest.client names no Secret with what it would have to show.
{{- end }}
{{- end -}}
{{- end }}

{{/* Where tenants send, and what is open to whom; nothing without tenants. Parameter: root context. */}}
{{- define "tempo-stack.notes.tenants" -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- with .Values.tenants.default -}}
What comes in at these receivers is stored as the tenant {{ . }}.
{{ end -}}
Tenants send to receivers of their own, with what their Secrets hold:
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml }}
{{- if $tenant.ports }}
  {{ $id }}
{{- range $key, $port := $tenant.ports }} {{ ternary "gRPC" "HTTP" (eq $key "otlpGrpc") }} {{ include "tempo-stack.otelCollector.host" $ }}:{{ int $port }}{{ end }}
{{- if eq $tenant.auth.type "none" }} (from everybody){{ end }}
{{- end }}
{{- end }}
Tempo believes whoever reaches it which tenant they are, and what it stored before there were tenants is the tenant single-tenant's.
{{- end -}}
{{- end }}
