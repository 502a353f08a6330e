{{/* Guards of otelCollector.presets and otelCollector.sampling; _validate.tpl runs them. */}}

{{/* Which processors the values switch on, as a map of the processor to the key of the value. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.presetKeys" -}}
{{- $known := dict
  "filter/drop" "presets.drop"
  "transform/kubernetes" "presets.kubernetesAttributes.enabled"
  "k8s_attributes" "presets.kubernetesAttributes.enabled"
  "resource" "presets.resource.attributes"
  "redaction" "presets.redaction.enabled"
  "transform/redaction" "presets.redaction.enabled"
  "filter/redaction" "presets.redaction.enabled"
  "probabilistic_sampler" "sampling.head.percent"
  "tail_sampling" "sampling.tail.enabled" -}}
{{- $keys := dict -}}
{{- range $id, $settings := include "tempo-stack.otelCollector.presets" . | fromYaml -}}{{- $_ := set $keys $id (get $known (regexReplaceAll "^k8s_attributes/.*" $id "k8s_attributes")) -}}{{- end -}}
{{- toYaml $keys -}}
{{- end }}

{{/* The distributions "otelcol" and "otelcol-otlp" lack most of these components. */}}
{{- define "tempo-stack.validate.presetImage" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $repository := .Values.otelCollector.image.repository -}}
{{- $has := list "filter/drop" "filter/redaction" "probabilistic_sampler" "resource" -}}
{{- range $id, $key := include "tempo-stack.otelCollector.presetKeys" . | fromYaml -}}
{{- if and (regexMatch "(^|/)opentelemetry-collector$" $repository) (not (has $id $has)) }}
otelCollector.image.repository is {{ $repository }} while otelCollector.{{ $key }} needs the processor {{ $id }}: this distribution doesn't have it, and would not start. Set it to otel/opentelemetry-collector-contrib, or to one of your own that has it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* 0.144 is the oldest whose redaction is known to reach scopes, and whose tail waits rather than forget; 0.146 gave k8s_attributes its name. */}}
{{- define "tempo-stack.validate.presetVersion" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $since := dict
  "redaction" (list "0.144" "would let the attributes of scopes and events through")
  "tail_sampling" (list "0.144" "forgets traces that it has not decided on when there are too many")
  "k8s_attributes" (list "0.146" "has another name, and the Collector would not start") -}}
{{- range $id, $key := include "tempo-stack.otelCollector.presetKeys" . | fromYaml -}}
{{- with get $since (splitList "/" $id | first) -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" $ "constraint" (printf "<%s.0" (first .))) }}
otelCollector.{{ $key }} is true with Collector {{ include "tempo-stack.otelCollector.version" $ }}: before {{ first . }} the processor {{ $id }} {{ last . }}. Choose a newer version in otelCollector.image.tag, or leave this out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* otelCollector.config has the last word, and could take a processor out again while its value says that it is on. */}}
{{- define "tempo-stack.validate.presetPipeline" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $on := include "tempo-stack.otelCollector.presetKeys" . | fromYaml -}}
{{- $exporters := $config.exporters | default dict -}}
{{- range $name, $pipeline := dig "service" "pipelines" dict $config -}}
{{- $pipeline = $pipeline | default dict -}}
{{- $out := false -}}
{{- range $pipeline.exporters -}}{{- if hasKey $exporters . -}}{{- $out = true -}}{{- end -}}{{- end -}}
{{- if and $out (regexMatch "^traces(/|$)" $name) -}}
{{- range $id, $key := $on -}}
{{- if not (has $id ($pipeline.processors | default list)) }}
otelCollector.config.service.pipelines.{{ $name }}.processors is {{ toJson $pipeline.processors }}: without {{ $id }}, otelCollector.{{ $key }} would have no effect there. Add {{ $id }} to the list, or leave the list out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A redaction that looks for nothing, or an attribute that has no name, isn't what was meant. */}}
{{- define "tempo-stack.validate.presetRedaction" -}}
{{- with .Values.otelCollector -}}
{{- if .enabled -}}
{{- $redaction := .presets.redaction -}}
{{- if $redaction.enabled -}}
{{- $settings := get (include "tempo-stack.otelCollector.presets.redaction" $ | fromYaml) "redaction" -}}
{{- if and $settings.allow_all_keys (not $settings.blocked_values) (not $settings.blocked_key_patterns) }}
otelCollector.presets.redaction.enabled is true and nothing is to be masked: values, patterns, keys and allowOnlyKeys are all empty. Name something, or switch it off.
{{- end -}}
{{- else -}}
{{- range $key := list "patterns" "allowOnlyKeys" -}}
{{- if get $redaction $key }}
otelCollector.presets.redaction.{{ $key }} is set while otelCollector.presets.redaction.enabled is false: what it names would be stored as it came. Switch redaction on, or leave {{ $key }} out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Attributes that the processor knows (its config.go at 0.155); what stands beside a preset that is off would have no effect. */}}
{{- define "tempo-stack.validate.presetKubernetes" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $preset := .Values.otelCollector.presets.kubernetesAttributes -}}
{{- $key := "otelCollector.presets.kubernetesAttributes" -}}
{{- if $preset.enabled -}}
{{- $known := list "container.id" "container.image.name" "container.image.repo_digests" "container.image.tag" "container.image.tags" "k8s.cluster.uid" "k8s.container.name" "k8s.cronjob.name" "k8s.cronjob.uid" "k8s.daemonset.name" "k8s.daemonset.uid" "k8s.deployment.name" "k8s.deployment.uid" "k8s.job.name" "k8s.job.uid" "k8s.namespace.name" "k8s.node.name" "k8s.node.uid" "k8s.pod.hostname" "k8s.pod.ip" "k8s.pod.name" "k8s.pod.start_time" "k8s.pod.uid" "k8s.replicaset.name" "k8s.replicaset.uid" "k8s.statefulset.name" "k8s.statefulset.uid" "service.instance.id" "service.name" "service.namespace" "service.version" -}}
{{- $metadata := include "tempo-stack.otelCollector.presets.kubernetesMetadata" . | fromYamlArray -}}
{{- range $metadata -}}
{{- if not (has . $known) }}
{{ $key }}.attributes has {{ . }}: the processor k8s_attributes doesn't know it, and the Collector would not start. Take it out; it knows {{ join ", " $known }}.
{{- else if and $preset.namespaces (has . (list "k8s.cluster.uid" "k8s.node.uid")) }}
{{ $key }}.attributes has {{ . }} while {{ $key }}.namespaces is {{ join ", " $preset.namespaces }}: it is read from an object of the whole cluster, which no Role lets anybody read. Take it out, or leave namespaces out.
{{- end -}}
{{- end -}}
{{- if not (include "tempo-stack.otelCollector.presets.kubernetesKeys" . | fromYamlArray) }}
{{ $key }}.enabled is true and spans would get nothing: attributes, labels and annotations are all empty. Name something, or switch it off.
{{- end -}}
{{- else -}}
{{- range list "namespaces" "labels" "annotations" -}}
{{- if get $preset . }}
{{ $key }}.{{ . }} is set while {{ $key }}.enabled is false: nobody would ask the API server. Switch it on, or leave {{ . }} out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The account of the namespace that every pod has which names none. */}}
{{- define "tempo-stack.validate.presetKubernetesAccount" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .presets.kubernetesAttributes.enabled (eq "default" (include "tempo-stack.serviceAccountName" (dict "serviceAccount" .serviceAccount "fullname" "otel-collector"))) }}
otelCollector.serviceAccount is default while otelCollector.presets.kubernetesAttributes.enabled is true: every pod of the namespace that names no ServiceAccount would get its rights. Set otelCollector.serviceAccount.create to true, or otelCollector.serviceAccount.name to one of its own.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A regular expression that Go can't read ends the Collector at its start; helm reads the same ones, and one that it can't matches nothing at all. */}}
{{- define "tempo-stack.validate.presetPatterns" -}}
{{- with .Values.otelCollector -}}
{{- if .enabled -}}
{{- $maps := dict "presets.drop.names" .presets.drop.names "presets.redaction.patterns" .presets.redaction.patterns "presets.redaction.keys" .presets.redaction.keys -}}
{{- range $key, $map := $maps -}}
{{- range $name, $regex := $map -}}
{{- if and $regex (not (regexMatch (printf "(?:%s)|" $regex) "")) }}
otelCollector.{{ $key }}.{{ $name }} is {{ $regex }}: it isn't a regular expression of RE2, and the Collector would not start. Correct it; RE2 has no look-around and no references back.
{{- else if and $regex (regexMatch $regex "") }}
otelCollector.{{ $key }}.{{ $name }} is {{ $regex }}: it matches a text with nothing in it, and so everything. Make it match at least one character.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
A tail decides on what it has: with several pods each would have a part of a trace.
Nothing that the chart installs keeps traces together: the exporter load_balancing would.
*/}}
{{- define "tempo-stack.validate.samplingReplicas" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .sampling.tail.enabled (not .sampling.tail.tracesKeptTogether) -}}
{{- $many := "" -}}
{{- if .autoscaling.enabled -}}{{- $many = "otelCollector.autoscaling.enabled is true" -}}
{{- else if kindIs "invalid" .replicas -}}{{- $many = "otelCollector.replicas is null, so that another controller sets it" -}}
{{- else if gt (int .replicas) 1 -}}{{- $many = printf "otelCollector.replicas is %d" (int .replicas) -}}
{{- end -}}
{{- if $many }}
otelCollector.sampling.tail.enabled is true while {{ $many }}: each pod would decide on the part of a trace that reached it. Set otelCollector.replicas to 1 and autoscaling off; or put Collectors in front whose load_balancing exporter sends each trace to one pod, and say so with otelCollector.sampling.tail.tracesKeptTogether.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A tail that keeps all or nothing, or decides on less than it waits for, isn't what was meant. */}}
{{- define "tempo-stack.validate.samplingKeep" -}}
{{- with .Values.otelCollector -}}
{{- if and .enabled .sampling.tail.enabled -}}
{{- $tail := .sampling.tail -}}
{{- if not (include "tempo-stack.otelCollector.sampling.policies" $ | fromYamlArray) }}
otelCollector.sampling.tail.keep keeps nothing: every trace would be dropped. Set errors, slowerThan, attributes or percent.
{{- else if ge (float64 $tail.keep.percent) 100.0 }}
otelCollector.sampling.tail.keep.percent is {{ $tail.keep.percent }}: every trace is kept, after it has waited in memory for nothing. Lower it, or switch otelCollector.sampling.tail off.
{{- end -}}
{{- if eq (include "tempo-stack.duration.milliseconds" $tail.decisionWait | int64) 0 }}
otelCollector.sampling.tail.decisionWait is {{ $tail.decisionWait }}: the decision would not wait for a second span. Set it to the time that a trace takes from its first span to its last, for example 10s.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Traces wait in memory, beside the queue's batches: they may have half of it. */}}
{{- define "tempo-stack.validate.samplingMemory" -}}
{{- with .Values.otelCollector -}}
{{- $memory := include "tempo-stack.memoryLimit" .resources -}}
{{- $trace := include "tempo-stack.quantity.bytes" .sampling.tail.traceSize -}}
{{- if and .enabled .sampling.tail.enabled $memory $trace -}}
{{- $wanted := mul (int64 .sampling.tail.maxTraces) (int64 $trace) -}}
{{- if gt $wanted (div (int64 $memory) 2) -}}
otelCollector.sampling.tail.maxTraces is {{ int64 .sampling.tail.maxTraces }}: with {{ .sampling.tail.traceSize }} for each (otelCollector.sampling.tail.traceSize) they need {{ include "tempo-stack.mebibytes" (printf "%d" $wanted) }}, more than half of the memory limit ({{ .resources.limits.memory }}). Lower it, or raise otelCollector.resources.limits.memory.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
