{{/*
Tempo's components: which pods there are. Workloads, claims, Services, budgets and monitors range over this one table.
*/}}

{{/*
The table, as a map by the component's name. Parameter: root context. A row has:
  key       its key below tempo.components; empty: it has the settings of tempo itself
  target    what the program runs, as `-target`; empty: everything (its default)
  label     app.kubernetes.io/component of the pods
  service   app.kubernetes.io/component of the Service that monitors find
  fullname  name of the workload and of what belongs to it
  kind      StatefulSet or Deployment
  strategy  how a Deployment replaces its pods
  replicas  number of pods
  autoscaling  settings of the autoscaler that owns that number; empty: none
  ports     keys of the ports that its container has (those of "tempo-stack.tempo.knownPorts")
  monitor   key of the port with its metrics
  entry     whether the public Service leads to the pods: "true" or ""
  ring      hash ring that the pods join; empty: none
  gossip    whether the pods tell each other who is in the rings: "true" or ""
  volume    what is under /var/tempo: claims (one for each pod), existingClaim or emptyDir
  size      size of that volume
  claims    number of claims that the chart makes
  headless  name of the Service that names the pods; empty: none
  budget    pods that may be away at a time; empty: no disruption budget
  budgetBy  label of the pods that the budget counts, beside the selector's; empty: those of the row
  zone      availability zone of the pods; empty: any
  args      further arguments of the program
  stopsAfter  seconds that the pods wait before they are told to stop
*/}}
{{- define "tempo-stack.tempo.components" -}}
{{- $rows := dict -}}
{{- if .Values.tempo.enabled -}}
{{- if include "tempo-stack.tempo.isFleet" . -}}
{{- $rows = include (printf "tempo-stack.tempo.components.%s" (ternary "kafka" "fleet" (ne "" (include "tempo-stack.tempo.onKafka" .)))) . | fromYaml -}}
{{- else -}}
{{- $rows = dict "tempo" (include "tempo-stack.tempo.components.monolith" . | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* The row of a Tempo that does everything: one pod, or two mirrors. Parameter: root context. */}}
{{- define "tempo-stack.tempo.components.monolith" -}}
{{- $tempo := .Values.tempo -}}
{{- $volume := ternary (ternary "existingClaim" "claims" (ne $tempo.persistence.existingClaim "")) "emptyDir" $tempo.persistence.enabled -}}
{{- $stateful := ne $volume "emptyDir" -}}
{{- $mirrored := eq "true" (include "tempo-stack.tempo.mirrored" .) -}}
{{- dict
  "key" ""
  "target" ""
  "label" "tempo"
  "service" (ternary "tempo-headless" "tempo" $mirrored)
  "fullname" (include "tempo-stack.tempo.fullname" .)
  "kind" (ternary "StatefulSet" "Deployment" $stateful)
  "strategy" "Recreate"
  "replicas" (int $tempo.replicas)
  "ports" (list "http" (ternary "otlpMirror" "otlpGrpc" $mirrored))
  "monitor" "http"
  "entry" (ternary "true" "" $mirrored)
  "ring" ""
  "gossip" ""
  "volume" $volume
  "size" $tempo.persistence.size
  "claims" (ternary (ternary 2 1 $mirrored) 0 (eq $volume "claims"))
  "headless" (ternary (include "tempo-stack.tempo.headlessServiceName" .) "" $stateful)
  "budget" (ternary "1" "" $mirrored)
  "budgetBy" ""
  "zone" ""
  "args" list
  "stopsAfter" 0
  | toYaml -}}
{{- end }}

{{/* "true" when Tempo's parts are processes of their own. Parameter: root context. */}}
{{- define "tempo-stack.tempo.isFleet" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.mode "microservices") -}}true{{- end -}}
{{- end }}

{{/*
The rows of a fleet of Tempo 2.x.
The ingesters keep the name, the labels and so the claims of one Tempo that does everything: where the mode changes,
the first of them finds its predecessor's write-ahead log on its volume, and the other way round.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.components.fleet" -}}
{{- $ctx := . -}}
{{- $rows := dict -}}
{{- range $target, $of := dict
  "distributor" (dict "key" "distributor" "ports" (list "httpMetrics" "otlpGrpc" "gossip") "entry" "true" "ring" "distributor" "gossip" "true")
  "querier" (dict "key" "querier" "ports" (list "httpMetrics" "gossip") "gossip" "true")
  "query-frontend" (dict "key" "queryFrontend" "ports" (list "http" "grpc" "gossip") "entry" "true" "gossip" "true")
  "compactor" (dict "key" "compactor" "ports" (list "httpMetrics" "gossip") "ring" "compactor" "gossip" "true")
  "metrics-generator" (dict "key" "metricsGenerator" "ports" (list "httpMetrics" "grpc" "gossip") "ring" "metrics-generator" "gossip" "true" "size" "2Gi") -}}
{{- $row := include "tempo-stack.tempo.components.part" (dict "ctx" $ctx "target" $target "of" $of) | fromYaml -}}
{{- if or (ne $target "metrics-generator") (include "tempo-stack.tempo.processors" $ctx | fromYamlArray) -}}
{{- $_ := set $rows $target $row -}}
{{- end -}}
{{- end -}}
{{- $rows = merge $rows (include "tempo-stack.tempo.components.ingesters" . | fromYaml) -}}
{{- toYaml $rows -}}
{{- end }}

{{/*
A row with the defaults of a fleet: a Deployment that keeps nothing. The name of a StatefulSet has 52 characters at most.
Parameters: ctx (root context), target, name (of
the row, if it isn't the target), of (what is different: key and ports at least).
*/}}
{{- define "tempo-stack.tempo.components.part" -}}
{{- $name := .name | default .target -}}
{{- $values := get .ctx.Values.tempo.components .of.key | default dict -}}
{{- $front := include "tempo-stack.tempo.fullname" .ctx -}}
{{- $room := sub 51 (len $name) | int -}}
{{- if and (eq (.of.kind | default "") "StatefulSet") (gt (len $front) $room) -}}
{{- $front = printf "%s-%s" ($front | trunc (sub $room 9 | int) | trimSuffix "-") ($front | sha256sum | trunc 8) -}}
{{- end -}}
{{- $fullname := printf "%s-%s" $front $name -}}
{{- $label := printf "tempo-%s" $name -}}
{{- $replicas := dig "replicas" 1 $values | int -}}
{{- $autoscaling := ternary $values.autoscaling dict (dig "autoscaling" "enabled" false $values) -}}
{{- $least := dig "minReplicas" $replicas $autoscaling | int -}}
{{- $size := dig "persistence" "size" "" $values | default .of.size | default "256Mi" -}}
{{- $row := dict
  "target" .target "label" $label "service" (printf "%s-headless" $label) "fullname" $fullname
  "kind" "Deployment" "strategy" "RollingUpdate" "replicas" $replicas "autoscaling" $autoscaling
  "monitor" (first .of.ports) "entry" "" "ring" "" "gossip" ""
  "volume" "emptyDir" "claims" 0
  "headless" $fullname "budget" (ternary "1" "" (gt (dig "replicas" $least .of | int) 1)) "budgetBy" ""
  "zone" "" "args" list "stopsAfter" 0 -}}
{{- range $key, $value := merge (dict "size" $size) .of -}}{{- $_ := set $row $key $value -}}{{- end -}}
{{- toYaml $row -}}
{{- end }}

{{/* Seconds by which the pods of a zone stop later than those of the zone before it: an upgrade replaces all zones at once. */}}
{{- define "tempo-stack.tempo.zonesApart" -}}60{{- end }}

{{/* The ingesters' rows: one, or one for each zone, with one budget for all of them. Parameter: root context. */}}
{{- define "tempo-stack.tempo.components.ingesters" -}}
{{- $tempo := .Values.tempo -}}
{{- $values := $tempo.components.ingester -}}
{{- $zones := $values.zones | default (list "") -}}
{{- $replicas := div (int $values.replicas) (len $zones) | int -}}
{{- $volume := ternary "claims" "emptyDir" $tempo.persistence.enabled -}}
{{- $rows := dict -}}
{{- range $n, $zone := $zones -}}
{{- $suffix := ternary "" (printf "-zone-%d" (add1 $n)) (eq $n 0) -}}
{{- $fullname := printf "%s%s" (include "tempo-stack.tempo.fullname" $) $suffix -}}
{{- $_ := set $rows (printf "ingester%s" $suffix) (dict
  "key" "ingester"
  "target" "ingester"
  "label" (printf "tempo%s" $suffix)
  "service" (printf "tempo%s-headless" $suffix)
  "fullname" $fullname
  "kind" "StatefulSet"
  "strategy" ""
  "replicas" $replicas
  "ports" (list "httpMetrics" "grpc" "gossip")
  "monitor" "httpMetrics"
  "entry" ""
  "ring" "ingester"
  "gossip" "true"
  "volume" $volume
  "size" (dig "persistence" "size" $tempo.persistence.size $values)
  "claims" (ternary $replicas 0 (eq $volume "claims"))
  "headless" (printf "%s-headless" $fullname)
  "budget" (ternary "1" "" (and (eq $n 0) (gt (int $values.replicas) 1)))
  "budgetBy" "ring"
  "args" (ternary (list (printf "-ingester.availability-zone=%s" $zone)) list (ne $zone ""))
  "stopsAfter" (mul $n (include "tempo-stack.tempo.zonesApart" $ | int) | int)
  "zone" $zone) -}}
{{- end -}}
{{- toYaml $rows -}}
{{- end }}

{{/* Labels of a component's pods beside those that its workload finds them by, as YAML; empty for one Tempo that does everything. Parameter: row. */}}
{{- define "tempo-stack.tempo.component.labels" -}}
{{- with .target }}
tempo-stack/target: {{ . }}
{{- end }}
{{- if .entry }}
tempo-stack/entry: "true"
{{- end }}
{{- if .gossip }}
tempo-stack/gossip: "true"
{{- end }}
{{- with .ring }}
tempo-stack/ring: {{ . }}
{{- end }}
{{- end }}

{{/*
Settings of a component: those of tempo, with what stands in tempo.components over them.
Parameters: ctx (root context), key (below tempo.components; empty: tempo as it is), into (an empty map, which is filled). Prints nothing.
*/}}
{{- define "tempo-stack.tempo.component.values" -}}
{{- include "tempo-stack.config.merge" (dict "into" .into "from" (deepCopy .ctx.Values.tempo)) -}}
{{- with .key -}}
{{- include "tempo-stack.config.merge" (dict "into" $.into "from" (get $.ctx.Values.tempo.components . | deepCopy)) -}}
{{- end -}}
{{- end }}

{{/*
Root context in which tempo has the settings of one of its components.
Parameters: ctx (root context), key (below tempo.components), into (an empty map, which is filled). Prints nothing.
*/}}
{{- define "tempo-stack.tempo.component.context" -}}
{{- $into := .into -}}
{{- $values := dict -}}
{{- $tempo := dict -}}
{{- include "tempo-stack.tempo.component.values" (dict "ctx" .ctx "key" .key "into" $tempo) -}}
{{- range $key, $value := .ctx.Values -}}{{- $_ := set $values $key $value -}}{{- end -}}
{{- $_ := set $values "tempo" $tempo -}}
{{- range $key, $value := .ctx -}}{{- $_ := set $into $key $value -}}{{- end -}}
{{- $_ := set $into "Values" $values -}}
{{- end }}
