{{/*
NetworkPolicies: who may reach which pod, and what each pod may reach. They add up: one closes everything for all pods
of the release, the others open what a part needs. Ports, components and addresses come from where everybody has them.
*/}}

{{/*
Every policy, as a map by its name. A row has:
  component  app.kubernetes.io/component of the object
  pods       the pods that it holds for, as a selector
  ingress    rules, as in a NetworkPolicy
  egress     rules, as in a NetworkPolicy
Parameter: root context.
*/}}
{{- define "tempo-stack.policies" -}}
{{- $rows := dict (include "tempo-stack.fullname" .) (include "tempo-stack.policies.all" . | fromYaml) -}}
{{- if .Values.otelCollector.enabled -}}
{{- $_ := set $rows (include "tempo-stack.otelCollector.fullname" .) (include "tempo-stack.policies.otelCollector" . | fromYaml) -}}
{{- end -}}
{{- range include "tempo-stack.tempo.components" . | fromYaml -}}
{{- $_ := set $rows .fullname (include "tempo-stack.policies.tempo" (dict "ctx" $ "component" .) | fromYaml) -}}
{{- end -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $_ := set $rows (printf "%s-fleet" (include "tempo-stack.tempo.fullname" .)) (include "tempo-stack.policies.fleet" . | fromYaml) -}}
{{- end -}}
{{- if .Values.queryProxy.enabled -}}
{{- $_ := set $rows (include "tempo-stack.queryProxy.fullname" .) (include "tempo-stack.policies.queryProxy" . | fromYaml) -}}
{{- end -}}
{{- if include "tempo-stack.policies.tests" . -}}
{{- $_ := set $rows (printf "%s-test" (include "tempo-stack.fullname" .)) (include "tempo-stack.policies.test" . | fromYaml) -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* Of all pods: closed both ways, but for DNS and what the values add. Parameter: root context. */}}
{{- define "tempo-stack.policies.all" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- $openshift := include "tempo-stack.platformChoosesUser" . -}}
{{- $servers := include "tempo-stack.policies.inOrder" $egress.dns.to | fromYamlArray -}}
{{- if not $servers -}}
{{- $servers = list (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" (ternary "openshift-dns" "kube-system" (ne $openshift ""))))) -}}
{{- end -}}
{{- $ports := list -}}
{{- range $port := $egress.dns.ports | default (list (ternary 5353 53 (ne $openshift ""))) -}}
{{- range list "UDP" "TCP" -}}{{- $ports = append $ports (dict "protocol" . "port" (int $port)) -}}{{- end -}}
{{- end -}}
{{- dict
  "component" "network-policy"
  "pods" (dict "matchLabels" (include "tempo-stack.instanceLabels" . | fromYaml))
  "ingress" list
  "egress" (concat (list (dict "to" $servers "ports" $ports)) (include "tempo-stack.policies.inOrder" $egress.extra | fromYamlArray))
  | toYaml -}}
{{- end }}

{{/* Of the Collector. Parameter: root context. */}}
{{- define "tempo-stack.policies.otelCollector" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $collector := .Values.otelCollector -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- $tempos := include "tempo-stack.policies.receiving" . | fromYamlArray -}}
{{- $ingress := list -}}
{{- /* A rule without ports would open all of them. */ -}}
{{- with omit $ports "metrics" -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" $policy.ingest.from "ports" .) | fromYaml) -}}
{{- end -}}
{{- if and $policy.ingest.from (include "tempo-stack.policies.tests" .) -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" (include "tempo-stack.policies.testPeer" . | fromYaml) "ports" (pick $ports "otlpHttp")) | fromYaml) -}}
{{- end -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" $policy.metrics.from "ports" (pick $ports "metrics")) | fromYaml) -}}
{{- if and $policy.metrics.from (include "tempo-stack.tempo.mirrored" .) -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" (include "tempo-stack.policies.peer" (dict "ctx" . "components" $tempos) | fromYaml) "ports" (pick $ports "metrics")) | fromYaml) -}}
{{- end -}}
{{- $egress := list -}}
{{- if $collector.exporter.endpoint -}}
{{- $egress = append $egress (include "tempo-stack.policies.to" (dict "target" $policy.egress.exporter "addresses" (list $collector.exporter.endpoint) "default" (ternary 80 443 $collector.exporter.insecure)) | fromYaml) -}}
{{- else if $tempos -}}
{{- $otlp := pick (include "tempo-stack.tempo.knownPorts" . | fromYaml) "otlpGrpc" -}}
{{- $egress = append $egress (dict "to" (include "tempo-stack.policies.peer" (dict "ctx" . "components" $tempos) | fromYaml | values) "ports" (include "tempo-stack.policies.ports" $otlp | fromYamlArray)) -}}
{{- end -}}
{{- with $collector.receivers.kafka -}}
{{- if .enabled -}}
{{- $egress = append $egress (include "tempo-stack.policies.to" (dict "target" $policy.egress.kafka "addresses" .brokers "default" 9092) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- if $collector.presets.kubernetesAttributes.enabled -}}
{{- $egress = append $egress (include "tempo-stack.policies.to" (dict "target" $policy.egress.kubernetesApi "addresses" (list "kubernetes:443" "kubernetes:6443")) | fromYaml) -}}
{{- end -}}
{{- if eq $collector.auth.type "oidc" -}}
{{- $egress = append $egress (include "tempo-stack.policies.to" (dict "target" $policy.egress.oidc "addresses" (list $collector.auth.oidc.issuerUrl) "default" 443) | fromYaml) -}}
{{- end -}}
{{- dict
  "component" "otel-collector"
  "pods" (dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" . "component" "otel-collector") | fromYaml))
  "ingress" $ingress
  "egress" $egress
  | toYaml -}}
{{- end }}

{{/*
Of one of Tempo's components. Whoever may scrape a query-frontend, or a Tempo that does everything, may query it, too:
both have one port. Parameters: ctx, component (row).
*/}}
{{- define "tempo-stack.policies.tempo" -}}
{{- $ctx := .ctx -}}
{{- $row := .component -}}
{{- $policy := .ctx.Values.networkPolicy -}}
{{- $own := include "tempo-stack.tempo.ownPorts" . | fromYaml -}}
{{- $metrics := merge (pick $own $row.monitor) (include "tempo-stack.tempo.diskPorts" .ctx | fromYaml) -}}
{{- $ingress := list -}}
{{- $egress := list -}}
{{- with pick $own "otlpGrpc" "otlpMirror" -}}
{{- $from := $policy.ingest.from -}}
{{- if include "tempo-stack.policies.collectorSends" $ctx -}}
{{- $from = include "tempo-stack.policies.peer" (dict "ctx" $ctx "components" (list "otel-collector")) | fromYaml -}}
{{- end -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" $from "ports" .) | fromYaml) -}}
{{- end -}}
{{- with pick $own "http" -}}
{{- $from := $policy.query.from | default dict -}}
{{- /* Who may query comes in by the guarded door then. */ -}}
{{- if $ctx.Values.queryProxy.enabled -}}{{- $from = include "tempo-stack.policies.peer" (dict "ctx" $ctx "components" (list "query-proxy")) | fromYaml -}}{{- end -}}
{{- if $from -}}
{{- if include "tempo-stack.policies.tests" $ctx -}}{{- $from = merge (include "tempo-stack.policies.testPeer" $ctx | fromYaml) $from -}}{{- end -}}
{{- /* Each asks whether the other one answers. */ -}}
{{- if include "tempo-stack.tempo.mirrored" $ctx -}}{{- $from = merge (include "tempo-stack.policies.peer" (dict "ctx" $ctx "components" (list $row.label)) | fromYaml) $from -}}{{- end -}}
{{- end -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" $from "ports" .) | fromYaml) -}}
{{- end -}}
{{- $ingress = append $ingress (include "tempo-stack.policies.from" (dict "peers" $policy.metrics.from "ports" $metrics) | fromYaml) -}}
{{- if include "tempo-stack.tempo.mirrored" $ctx -}}
{{- range $component, $ports := dict $row.label (pick $own "http") "otel-collector" (pick (include "tempo-stack.otelCollector.ports" $ctx | fromYaml) "metrics") -}}
{{- $egress = append $egress (dict "to" (include "tempo-stack.policies.peer" (dict "ctx" $ctx "components" (list $component)) | fromYaml | values) "ports" (include "tempo-stack.policies.ports" $ports | fromYamlArray)) -}}
{{- end -}}
{{- end -}}
{{- $egress = concat $egress (include "tempo-stack.policies.outside" . | fromYamlArray) -}}
{{- dict
  "component" $row.label
  "pods" (dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" $ctx "component" $row.label) | fromYaml))
  "ingress" $ingress
  "egress" $egress
  | toYaml -}}
{{- end }}

{{/* Of the guarded door to queries. Parameter: root context. */}}
{{- define "tempo-stack.policies.queryProxy" -}}
{{- $asked := list -}}
{{- range include "tempo-stack.tempo.components" . | fromYaml -}}{{- if has "http" .ports -}}{{- $asked = append $asked .label -}}{{- end -}}{{- end -}}
{{- $api := pick (include "tempo-stack.tempo.servedPorts" . | fromYaml) "http" -}}
{{- dict
  "component" "query-proxy"
  "pods" (dict "matchLabels" (include "tempo-stack.selectorLabels" (dict "ctx" . "component" "query-proxy") | fromYaml))
  "ingress" (list (include "tempo-stack.policies.from" (dict "peers" .Values.networkPolicy.query.from "ports" (include "tempo-stack.queryProxy.ports" . | fromYaml)) | fromYaml))
  "egress" (list (dict "to" (include "tempo-stack.policies.peer" (dict "ctx" . "components" $asked) | fromYaml | values) "ports" (include "tempo-stack.policies.ports" $api | fromYamlArray)))
  | toYaml -}}
{{- end }}

{{/* Between the parts of a fleet: gRPC and gossip, each of which has its own listeners of them. Parameter: root context. */}}
{{- define "tempo-stack.policies.fleet" -}}
{{- $parts := dict
  "matchLabels" (include "tempo-stack.instanceLabels" . | fromYaml)
  "matchExpressions" (list (dict "key" "tempo-stack/target" "operator" "Exists")) -}}
{{- $peers := list (dict "podSelector" $parts) -}}
{{- $ports := pick (include "tempo-stack.tempo.knownPorts" . | fromYaml) "grpc" "gossip" | include "tempo-stack.policies.ports" | fromYamlArray -}}
{{- dict
  "component" "tempo-fleet"
  "pods" $parts
  "ingress" (list (dict "from" $peers "ports" $ports))
  "egress" (list (dict "to" $peers "ports" $ports))
  | toYaml -}}
{{- end }}

{{/*
What a component of Tempo asks that isn't part of the release: the store with whoever gives the credentials for it,
memcached, Kafka, and Prometheus. Parameters: ctx, component (row). Prints a list of rules.
*/}}
{{- define "tempo-stack.policies.outside" -}}
{{- $tempo := .ctx.Values.tempo -}}
{{- $egress := .ctx.Values.networkPolicy.egress -}}
{{- $target := .component.target -}}
{{- $rules := list -}}
{{- /* Those that open no store: see cmd/tempo/app/modules.go of either version. */ -}}
{{- $apart := list "distributor" "live-store" -}}
{{- if include "tempo-stack.tempo.onKafka" .ctx -}}{{- $apart = append $apart "metrics-generator" -}}{{- end -}}
{{- if not (has $target $apart) -}}
{{- if include "tempo-stack.tempo.storage.remote" .ctx -}}
{{- $store := include "tempo-stack.policies.store" .ctx | fromYaml -}}
{{- $rules = append $rules (include "tempo-stack.policies.to" (merge (dict "target" $egress.objectStore) $store) | fromYaml) -}}
{{- if $store.role -}}
{{- /* The metadata servers of AWS, Google and Azure, and of Google's agent on a node. */ -}}
{{- $rules = append $rules (dict "to" (list (dict "ipBlock" (dict "cidr" "169.254.0.0/16"))) "ports" (list (dict "protocol" "TCP" "port" 80) (dict "protocol" "TCP" "port" 988))) -}}
{{- end -}}
{{- end -}}
{{- with $tempo.cache.memcached.addresses -}}
{{- $rules = append $rules (include "tempo-stack.policies.to" (dict "target" $egress.memcached "addresses" . "default" 11211) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- if and (include "tempo-stack.tempo.onKafka" .ctx) (has $target (list "distributor" "live-store" "block-builder" "metrics-generator")) -}}
{{- $rules = append $rules (include "tempo-stack.policies.to" (dict "target" $egress.kafka "addresses" (list $tempo.kafka.address) "default" 9092) | fromYaml) -}}
{{- end -}}
{{- if and (include "tempo-stack.tempo.generatesMetrics" .ctx) (has $target (list "" "metrics-generator")) -}}
{{- $urls := list -}}
{{- range $tempo.metricsGenerator.remoteWrite -}}{{- $urls = append $urls .url -}}{{- end -}}
{{- $rules = append $rules (include "tempo-stack.policies.to" (dict "target" $egress.remoteWrite "addresses" $urls "default" 80) | fromYaml) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end }}

{{/*
The store's addresses, the port of one that names none, and role: "true" where the pod gets its credentials from the
cloud, which takes a server for tokens at 443 beside the store. Parameter: root context.
*/}}
{{- define "tempo-stack.policies.store" -}}
{{- $storage := .Values.tempo.storage -}}
{{- $addresses := list -}}
{{- $plain := false -}}
{{- $role := false -}}
{{- if eq $storage.backend "s3" -}}
{{- $addresses = list (include "tempo-stack.tempo.s3.endpoint" .) -}}
{{- $plain = $storage.s3.insecure -}}
{{- $role = not (include "tempo-stack.tempo.s3.secretName" .) -}}
{{- else if eq $storage.backend "gcs" -}}
{{- $addresses = list ($storage.gcs.endpoint | default "") -}}
{{- $plain = $storage.gcs.insecure -}}
{{- $role = not (or $storage.gcs.existingSecret $plain) -}}
{{- if $storage.gcs.existingSecret -}}{{- $addresses = append $addresses "https://oauth2.googleapis.com" -}}{{- end -}}
{{- else -}}
{{- $addresses = list $storage.azure.endpointSuffix -}}
{{- $role = not $storage.azure.existingSecret -}}
{{- end -}}
{{- if $role -}}{{- $addresses = append $addresses "https://sts" -}}{{- end -}}
{{- dict "addresses" $addresses "default" (ternary 80 443 $plain) "role" $role | toYaml -}}
{{- end }}

{{/* Of the test and the canary, which send a span and look for it. Parameter: root context. */}}
{{- define "tempo-stack.policies.test" -}}
{{- $doors := pick (include "tempo-stack.otelCollector.ports" . | fromYaml) "otlpHttp" -}}
{{- $api := pick (include "tempo-stack.tempo.servedPorts" . | fromYaml) "http" -}}
{{- $asked := list -}}
{{- range include "tempo-stack.tempo.components" . | fromYaml -}}{{- if has "http" .ports -}}{{- $asked = append $asked .label -}}{{- end -}}{{- end -}}
{{- $ingress := list -}}
{{- if .Values.canary.enabled -}}
{{- $ingress = list (include "tempo-stack.policies.from" (dict "peers" .Values.networkPolicy.metrics.from "ports" (include "tempo-stack.canary.ports" . | fromYaml)) | fromYaml) -}}
{{- end -}}
{{- dict
  "component" "test"
  "pods" (include "tempo-stack.policies.testPeer" . | fromYaml | values | first).podSelector
  "ingress" $ingress
  "egress" (list
    (dict "to" (include "tempo-stack.policies.peer" (dict "ctx" . "components" (list "otel-collector")) | fromYaml | values) "ports" (include "tempo-stack.policies.ports" $doors | fromYamlArray))
    (dict "to" (include "tempo-stack.policies.peer" (dict "ctx" . "components" $asked) | fromYaml | values) "ports" (include "tempo-stack.policies.ports" $api | fromYamlArray)))
  | toYaml -}}
{{- end }}

{{/* "true" where a test or a canary may run. Parameter: root context. */}}
{{- define "tempo-stack.policies.tests" -}}
{{- if and (or .Values.canary.enabled .Values.helmTest.enabled) (include "tempo-stack.test.possible" .) -}}true{{- end -}}
{{- end }}

{{/* Both of them, as "tempo-stack.policies.peer" gives peers. Parameter: root context. */}}
{{- define "tempo-stack.policies.testPeer" -}}
{{- include "tempo-stack.policies.peer" (dict "ctx" . "components" (list "canary" "test")) -}}
{{- end }}

{{/* "true" where Tempo's spans come from the Collector of this release. Parameter: root context. */}}
{{- define "tempo-stack.policies.collectorSends" -}}
{{- if and .Values.otelCollector.enabled (not .Values.otelCollector.exporter.endpoint) -}}true{{- end -}}
{{- end }}

{{/* Labels of the components that take spans in, as a list. Parameter: root context. */}}
{{- define "tempo-stack.policies.receiving" -}}
{{- $labels := list -}}
{{- range include "tempo-stack.tempo.components" . | fromYaml -}}
{{- if or (has "otlpGrpc" .ports) (has "otlpMirror" .ports) -}}{{- $labels = append $labels .label -}}{{- end -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end }}

{{/* The pods of components of this release, as a map of one peer. Parameters: ctx, components (labels). */}}
{{- define "tempo-stack.policies.peer" -}}
{{- $selector := dict "matchLabels" (include "tempo-stack.instanceLabels" .ctx | fromYaml) -}}
{{- if eq 1 (len .components) -}}
{{- $_ := set $selector.matchLabels "app.kubernetes.io/component" (first .components) -}}
{{- else -}}
{{- $_ := set $selector "matchExpressions" (list (dict "key" "app.kubernetes.io/component" "operator" "In" "values" .components)) -}}
{{- end -}}
{{- /* By a name that no peer of the values has, so that they merge. */ -}}
{{- dict (join "," .components) (dict "podSelector" $selector) | toYaml -}}
{{- end }}

{{/* The entries of a map, in the order of their names. Parameter: the map, or nothing. */}}
{{- define "tempo-stack.policies.inOrder" -}}
{{- $list := list -}}
{{- range . -}}{{- $list = append $list . -}}{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Rule of what comes in. Parameters: peers (by name; none: every pod of the cluster), ports (map by values key). */}}
{{- define "tempo-stack.policies.from" -}}
{{- $peers := include "tempo-stack.policies.inOrder" .peers | fromYamlArray | default (list (dict "namespaceSelector" dict)) -}}
{{- dict "from" $peers "ports" (include "tempo-stack.policies.ports" .ports | fromYamlArray) | toYaml -}}
{{- end }}

{{/*
Rule of what goes out of the release. A policy sees the port of the pod behind a Service, so the values may name it.
Parameters: target (values: to and ports), addresses, default (port of an address that names none).
*/}}
{{- define "tempo-stack.policies.to" -}}
{{- $ports := .target.ports | default list -}}
{{- if not $ports -}}
{{- range $address := .addresses -}}{{- $ports = append $ports (include "tempo-stack.policies.portOf" (dict "address" $address "default" $.default)) -}}{{- end -}}
{{- end -}}
{{- $list := list -}}
{{- range uniq $ports -}}{{- $list = append $list (dict "protocol" "TCP" "port" (int .)) -}}{{- end -}}
{{- $rule := dict "ports" $list -}}
{{- with .target.to -}}{{- $_ := set $rule "to" (include "tempo-stack.policies.inOrder" . | fromYamlArray) -}}{{- end -}}
{{- toYaml $rule -}}
{{- end }}

{{/* The port of an address, with or without a scheme. Parameters: address, default. */}}
{{- define "tempo-stack.policies.portOf" -}}
{{- $address := trimPrefix "dns:///" .address -}}
{{- $url := urlParse (ternary $address (printf "//%s" $address) (contains "://" $address)) -}}
{{- $port := splitList "]" $url.host | last | splitList ":" -}}
{{- if eq 2 (len $port) -}}
{{- last $port -}}
{{- else -}}
{{- get (dict "http" 80 "https" 443) $url.scheme | default .default -}}
{{- end -}}
{{- end }}

{{/* Port list of a policy. Parameter: the map of ports. */}}
{{- define "tempo-stack.policies.ports" -}}
{{- $list := list -}}
{{- range . -}}{{- $list = append $list (dict "protocol" .protocol "port" (int .port)) -}}{{- end -}}
{{- toYaml $list -}}
{{- end }}
