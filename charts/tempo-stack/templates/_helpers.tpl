{{/*
Names, labels, images and addresses: every name and address that a template prints comes from here.
*/}}

{{/* Chart name, as the label app.kubernetes.io/name. */}}
{{- define "tempo-stack.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end }}

{{/*
Front of every object name.
At most 37 characters, so that "<fullname>-otel-collector" fits the 52 characters that a StatefulSet may have
(its pods carry "<name>-<10-digit hash>" as a label).
A longer one keeps its start and gets a hash of the whole, so that it stays unique.
*/}}
{{- define "tempo-stack.fullname" -}}
{{- $name := .Release.Name -}}
{{- if .Values.fullnameOverride -}}
{{- $name = .Values.fullnameOverride -}}
{{- else if not (contains (include "tempo-stack.name" .) .Release.Name) -}}
{{- $name = printf "%s-%s" .Release.Name (include "tempo-stack.name" .) -}}
{{- end -}}
{{- if gt (len $name) 37 -}}
{{- $name = printf "%s-%s" ($name | trunc 28 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* Names of the two components' objects. */}}
{{- define "tempo-stack.tempo.fullname" -}}
{{- include "tempo-stack.fullname" . }}-tempo
{{- end }}
{{- define "tempo-stack.otelCollector.fullname" -}}
{{- include "tempo-stack.fullname" . }}-otel-collector
{{- end }}

{{/* What all labels of a release's pods have in common. Parameter: root context. */}}
{{- define "tempo-stack.instanceLabels" -}}
app.kubernetes.io/name: {{ include "tempo-stack.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Labels by which Services, monitors and workloads find their pods: never change between versions.
Parameters: ctx (root context), component.
*/}}
{{- define "tempo-stack.selectorLabels" -}}
{{ include "tempo-stack.instanceLabels" .ctx }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/*
Labels of every object: common ones, and the chart's over them.
Parameters: ctx, component.
*/}}
{{- define "tempo-stack.labels" -}}
{{- $version := include "tempo-stack.tempo.version" .ctx -}}
{{- if hasPrefix "otel-collector" .component -}}
{{- $version = include "tempo-stack.otelCollector.version" .ctx -}}
{{- else if eq .component "query-proxy" -}}
{{- $version = include "tempo-stack.queryProxy.version" .ctx -}}
{{- end -}}
{{- $labels := include "tempo-stack.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" $version -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .ctx.Release.Service -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "tempo-stack" -}}
{{- toYaml (merge $labels (.ctx.Values.commonLabels | default dict | deepCopy)) -}}
{{- end }}

{{/* Image reference; a digest replaces the tag, the global registry replaces the image's. Parameters: ctx, image. */}}
{{- define "tempo-stack.image" -}}
{{- $registry := default .image.registry (.ctx.Values.global).imageRegistry -}}
{{- $repository := list $registry .image.repository | compact | join "/" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository .image.tag -}}
{{- end -}}
{{- end }}

{{/* ServiceAccount of a component. Parameters: serviceAccount (values), fullname. */}}
{{- define "tempo-stack.serviceAccountName" -}}
{{- if .serviceAccount.create -}}
{{- default .fullname .serviceAccount.name -}}
{{- else -}}
{{- default "default" .serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* Service names. */}}
{{- define "tempo-stack.tempo.serviceName" -}}
{{- default (include "tempo-stack.tempo.fullname" .) .Values.tempo.service.name -}}
{{- end }}
{{- define "tempo-stack.otelCollector.serviceName" -}}
{{- default (include "tempo-stack.otelCollector.fullname" .) .Values.otelCollector.service.name -}}
{{- end }}
{{- define "tempo-stack.tempo.headlessServiceName" -}}
{{- include "tempo-stack.tempo.fullname" . }}-headless
{{- end }}
{{- define "tempo-stack.otelCollector.metricsServiceName" -}}
{{- include "tempo-stack.otelCollector.serviceName" . | trunc 55 | trimSuffix "-" }}-metrics
{{- end }}
{{- define "tempo-stack.otelCollector.udpServiceName" -}}
{{- include "tempo-stack.otelCollector.serviceName" . | trunc 59 | trimSuffix "-" }}-udp
{{- end }}
{{- define "tempo-stack.otelCollector.headlessServiceName" -}}
{{- include "tempo-stack.otelCollector.fullname" . }}-headless
{{- end }}

{{/* Host name of a Service inside the cluster. Parameters: ctx, service (name). */}}
{{- define "tempo-stack.host" -}}
{{- printf "%s.%s.svc.%s" .service .ctx.Release.Namespace (default "cluster.local" (.ctx.Values.global).clusterDomain) -}}
{{- end }}
{{- define "tempo-stack.tempo.host" -}}
{{- include "tempo-stack.host" (dict "ctx" . "service" (include "tempo-stack.tempo.serviceName" .)) -}}
{{- end }}
{{- define "tempo-stack.otelCollector.host" -}}
{{- include "tempo-stack.host" (dict "ctx" . "service" (include "tempo-stack.otelCollector.serviceName" .)) -}}
{{- end }}

{{/*
Addresses for other charts. From an umbrella: include "tempo-stack.tempo.queryUrl" (index .Subcharts "tempo-stack"),
guarded by the chart's condition, because a disabled subchart has no templates.
*/}}
{{- define "tempo-stack.tempo.queryUrl" -}}
http://{{ include "tempo-stack.tempo.host" . }}:{{ int .Values.tempo.service.ports.http }}
{{- end }}
{{- define "tempo-stack.tempo.otlpEndpoint" -}}
{{ include "tempo-stack.tempo.host" . }}:{{ int .Values.tempo.service.ports.otlpGrpc }}
{{- end }}
{{- define "tempo-stack.otelCollector.scheme" -}}
{{- ternary "https" "http" .Values.otelCollector.tls.enabled -}}
{{- end }}
{{- define "tempo-stack.otelCollector.otlpGrpcEndpoint" -}}
{{ include "tempo-stack.otelCollector.host" . }}:{{ int .Values.otelCollector.service.ports.otlpGrpc }}
{{- end }}
{{- define "tempo-stack.otelCollector.otlpHttpEndpoint" -}}
{{ include "tempo-stack.otelCollector.httpUrl" (dict "ctx" . "port" .Values.otelCollector.service.ports.otlpHttp) }}
{{- end }}

{{/* URL of a port of the Collector's Service. Parameters: ctx, port. */}}
{{- define "tempo-stack.otelCollector.httpUrl" -}}
{{ include "tempo-stack.otelCollector.scheme" .ctx }}://{{ include "tempo-stack.otelCollector.host" .ctx }}:{{ int .port }}
{{- end }}

{{/* Address to listen on, with the brackets that IPv6 needs. Parameters: address, port. */}}
{{- define "tempo-stack.listener" -}}
{{- $address := ternary (printf "[%s]" .address) .address (contains ":" .address) -}}
{{- printf "%s:%d" $address (int .port) -}}
{{- end }}

{{/* "true" when Tempo keeps its data on a claim, which makes it a StatefulSet. */}}
{{- define "tempo-stack.tempo.stateful" -}}
{{- if and .Values.tempo.enabled .Values.tempo.persistence.enabled -}}true{{- end -}}
{{- end }}

{{/* Claim that Tempo's pod mounts; empty when persistence is off. */}}
{{- define "tempo-stack.tempo.claimName" -}}
{{- if .Values.tempo.persistence.enabled -}}
{{- default (printf "data-%s-0" (include "tempo-stack.tempo.fullname" .)) .Values.tempo.persistence.existingClaim -}}
{{- end -}}
{{- end }}

{{/* "true" when the Collector's queue is on a claim per replica, which makes it a StatefulSet. */}}
{{- define "tempo-stack.otelCollector.stateful" -}}
{{- with .Values.otelCollector.queue -}}
{{- if and (eq .type "file") .persistence.enabled -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* Collector pods at most: what `replicas` asks for, or what the autoscaler may ask for. 1 when another controller sets the number. */}}
{{- define "tempo-stack.otelCollector.maxReplicas" -}}
{{- include "tempo-stack.maxReplicas" .Values.otelCollector -}}
{{- end }}

{{/*
"true" when the Collector has a disruption budget: with a single pod it would only stop a node from being drained.
A number that another controller sets may be more than one.
*/}}
{{- define "tempo-stack.otelCollector.budgeted" -}}
{{- with .Values.otelCollector -}}
{{- $pods := ternary .autoscaling.minReplicas .replicas .autoscaling.enabled -}}
{{- if and .enabled .podDisruptionBudget.enabled (or (kindIs "invalid" $pods) (gt (int $pods) 1)) -}}true{{- end -}}
{{- end -}}
{{- end }}
