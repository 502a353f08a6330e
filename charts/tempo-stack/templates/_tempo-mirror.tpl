{{/*
Mirrors: two Tempos that each get every span over a queue of their own, and each keep all of it.
*/}}

{{/* "true" where there are mirrors. Parameter: root context. */}}
{{- define "tempo-stack.tempo.mirrored" -}}
{{- if and .Values.tempo.enabled (eq 2 (int .Values.tempo.replicas)) (not (include "tempo-stack.tempo.isFleet" .)) -}}true{{- end -}}
{{- end }}

{{/* Label of the pods that Service `tempo` leads to in front of mirrors: theirs and the Collectors'. Parameter: root context. */}}
{{- define "tempo-stack.mirrorLabels" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
tempo-stack/entry: "true"
{{- end -}}
{{- end }}

{{/* The values of a component with that label among those of its pods. Parameters: ctx, values. */}}
{{- define "tempo-stack.mirrorValues" -}}
{{- with include "tempo-stack.mirrorLabels" .ctx -}}
{{- $_ := set $.values "podLabels" (merge (fromYaml .) ($.values.podLabels | default dict)) -}}
{{- end -}}
{{- end }}

{{/*
The exporters of the Collector, one for each queue. Each id is also the name of a queue's file
("exporter_otlp_mirror-1_traces"), so none ever changes; the first is that of a Tempo alone, whose queue it goes on with.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.exporterIds" -}}
{{- $ids := list -}}
{{- range include "tempo-stack.tenants.ways" . | fromYamlArray -}}{{- $ids = concat $ids .exporters -}}{{- end -}}
{{- toYaml $ids -}}
{{- end }}

{{/* Those that send to one mirror. Parameters: ctx, ordinal. */}}
{{- define "tempo-stack.otelCollector.mirrorExporterIds" -}}
{{- $ids := list -}}
{{- range include "tempo-stack.tenants.ways" .ctx | fromYamlArray -}}{{- $ids = append $ids (index .exporters (int $.ordinal)) -}}{{- end -}}
{{- toYaml $ids -}}
{{- end }}

{{/* Host name of a mirror, whether it is ready or not. Parameters: ctx, ordinal. */}}
{{- define "tempo-stack.tempo.mirrorHost" -}}
{{- $service := include "tempo-stack.tempo.headlessServiceName" .ctx -}}
{{- printf "%s-%d.%s" (include "tempo-stack.tempo.fullname" .ctx) (int .ordinal) (include "tempo-stack.host" (dict "ctx" .ctx "service" $service)) -}}
{{- end }}

{{/* Service that Tempo's metrics are scraped over: in front of mirrors the one that leads to each of them. Parameter: root context. */}}
{{- define "tempo-stack.tempo.scrapedService" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
{{- include "tempo-stack.tempo.headlessServiceName" . -}}
{{- else -}}
{{- include "tempo-stack.tempo.serviceName" . -}}
{{- end -}}
{{- end }}

{{/*
What mirrors have set otherwise. Parameter: root context.

They acknowledge spans once these are in the write-ahead log, so that the Collector sends again what a kill took from
memory. Tempo has no switch for that, but it can answer late: a trace is cut to the log at the latest a second after it
began, at the next look a second later, and the answer comes after 5.4 to 6.6 seconds (a tenth more or less). What is
left of that is for a Tempo that waits for CPU, and for searches: a 2.x ingester cuts nothing while one reads the blocks
that it still holds. A block of the log is a file for each second, and read slowly; so 2.x finishes one after a minute
and not after thirty. 3.0 does so after thirty seconds by default.

What a mirror missed while it was away comes in late. Tempo takes the time of a span for wrong that is more than two
minutes off, and a search in that time then passes its block by; and it looks for spans of more than half an hour ago in
finished blocks only.
*/}}
{{- define "tempo-stack.tempo.config.mirror" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
{{- $late := "24h" -}}
{{- $config := dict
  "distributor" (dict "artificial_delay" "6s")
  "storage" (dict "trace" (dict "wal" (dict "ingestion_time_range_slack" $late))) -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=3.0.0") -}}
{{- $_ := set $config "live_store" (dict "max_trace_live" "1s" "wal" (dict "ingestion_time_range_slack" $late)) -}}
{{- else -}}
{{- $_ := set $config "ingester" (dict "trace_live_period" "1s" "max_block_duration" "1m") -}}
{{- $_ := set $config "query_frontend" (dict "search" (dict "query_ingesters_until" $late)) -}}
{{- end -}}
{{- toYaml $config -}}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{/*
Batches that are on their way to a mirror at the same time: with an answer after six seconds, ten of 1 MiB would be
1.7 MiB/s for each Collector. Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.mirrorConsumers" -}}30{{- end }}

{{/* "true" where each mirror has a folder of its own in a bucket. Parameter: root context. */}}
{{- define "tempo-stack.tempo.mirrorsInBucket" -}}
{{- if and (include "tempo-stack.tempo.mirrored" .) (include "tempo-stack.tempo.storage.remote" .) -}}true{{- end -}}
{{- end }}

{{/*
Folder of the bucket that a Tempo keeps its blocks in. The first mirror has that of a Tempo alone, so what was there
before is found, and there is when one goes on alone or as a fleet; the second has one of its pod's name in it, which the
first takes for a tenant without blocks. <MIRROR> becomes what Tempo makes the second's name of. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.storage.prefix" -}}
{{- $storage := .Values.tempo.storage -}}
{{- $mirror := ternary "<MIRROR>" "" (ne "" (include "tempo-stack.tempo.mirrorsInBucket" .)) -}}
{{- list (get $storage $storage.backend).prefix $mirror | compact | join "/" | trimAll "/" -}}
{{- end }}

{{/* What is a mirror's own in the file that both read: the name of the second's pod, and nothing for the first. Parameter: root context. */}}
{{- define "tempo-stack.tempo.mirrorFolder" -}}
{{- printf "${POD_NAME#%s-0}" (include "tempo-stack.tempo.fullname" .) -}}
{{- end }}

{{/* The name of the pod, for that folder. Parameter: root context. */}}
{{- define "tempo-stack.tempo.mirrorEnv" -}}
{{- if include "tempo-stack.tempo.mirrorsInBucket" . -}}
POD_NAME: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}
{{- end -}}
{{- end }}

{{/* Affinity of Tempo's pods where the values give none: mirrors on one host would go with it. Parameter: root context. */}}
{{- define "tempo-stack.tempo.mirrorAffinity" -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
{{- $term := dict
  "topologyKey" "kubernetes.io/hostname"
  "labelSelector" (dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" . "component" "tempo") | fromYaml)) -}}
{{- if eq .Values.tempo.mirror.antiAffinity "required" -}}
podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{{ toJson $term }}]}
{{- else -}}
podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{{ toJson (dict "weight" 100 "podAffinityTerm" $term) }}]}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Folder in which the container beside a mirror says that it is settled. */}}
{{- define "tempo-stack.tempo.settlePath" -}}/run/settle{{- end }}

{{/* Addresses of the metrics of all Collectors, those that the autoscaler may add included. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.metricsAddresses" -}}
{{- $fullname := include "tempo-stack.otelCollector.fullname" . -}}
{{- $host := include "tempo-stack.host" (dict "ctx" . "service" (include "tempo-stack.otelCollector.headlessServiceName" .)) -}}
{{- $list := list -}}
{{- range $ordinal := until (include "tempo-stack.otelCollector.maxReplicas" . | int) -}}
{{- $list = append $list (printf "%s-%d.%s:%d" $fullname $ordinal $host (int $.Values.otelCollector.service.ports.metrics)) -}}
{{- end -}}
{{- join " " $list -}}
{{- end }}

{{/*
The container that keeps a mirror which is behind out of the Service: its readiness is a part of the pod's.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.settle" -}}
{{- $run := include "tempo-stack.tempo.settlePath" . -}}
{{- $http := int .Values.tempo.service.ports.http -}}
{{- $mirrors := list -}}
{{- $exporters := list -}}
{{- range $ordinal := list 0 1 -}}
{{- $exporters = append $exporters (include "tempo-stack.otelCollector.mirrorExporterIds" (dict "ctx" $ "ordinal" $ordinal) | fromYamlArray | join ",") -}}
{{- $mirrors = append $mirrors (printf "%s:%d" (include "tempo-stack.tempo.mirrorHost" (dict "ctx" $ "ordinal" $ordinal)) $http) -}}
{{- end -}}
- {{ include "tempo-stack.tempo.shellContainer" (dict "ctx" . "name" "settle" "scripts" (list "settle-mirror.sh")) | nindent 2 | trim }}
  restartPolicy: Always
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: MIRRORS
      value: {{ join " " $mirrors | quote }}
    - name: EXPORTERS
      value: {{ join " " $exporters | quote }}
    - name: COLLECTORS
      value: {{ include "tempo-stack.otelCollector.metricsAddresses" . | quote }}
    - name: RUN
      value: {{ $run }}
  readinessProbe:
    exec:
      command: [test, -e, {{ $run }}/settled]
    periodSeconds: 1
    {{- /* A look that takes long says nothing of the mirror. */}}
    timeoutSeconds: 5
    failureThreshold: 1
  volumeMounts:
    - name: settle
      mountPath: {{ $run }}
    {{- /* For whoever copies the blocks of the other mirror. */}}
    - name: data
      mountPath: {{ include "tempo-stack.tempo.dataPath" . }}
{{- end }}
