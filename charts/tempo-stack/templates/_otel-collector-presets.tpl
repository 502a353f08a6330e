{{/*
What is done to spans between the receivers and the queue: what stays of them is all that is ever written to a disk.
*/}}

{{/*
The processors in the order of the pipeline, whether they are on or not: what takes spans away comes before what works on each of them,
and what holds spans back comes last: behind it nobody knows the connection any more. Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.processorOrder" -}}
{{- $kubernetes := keys (include "tempo-stack.otelCollector.presets.kubernetes" . | fromYaml) | sortAlpha -}}
{{- concat
  (list "memory_limiter" "filter/zero-ids" "filter/drop" "probabilistic_sampler" "transform/kubernetes")
  (without $kubernetes "transform/kubernetes")
  (list "resource" "redaction" "transform/redaction" "filter/redaction" "tail_sampling" "batch")
  | toYaml -}}
{{- end }}

{{/* The processors of the presets that are on, as a map. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.presets" -}}
{{- $presets := .Values.otelCollector.presets -}}
{{- $processors := dict -}}
{{- with include "tempo-stack.otelCollector.presets.dropConditions" . | fromYamlArray -}}
{{- $_ := set $processors "filter/drop" (dict "error_mode" "ignore" "traces" (dict "span" .)) -}}
{{- end -}}
{{- $processors = merge $processors (include "tempo-stack.otelCollector.presets.kubernetes" . | fromYaml) -}}
{{- if $presets.resource.attributes -}}
{{- $actions := list -}}
{{- range $key, $value := $presets.resource.attributes -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $actions = append $actions (dict "key" $key "value" (replace "$" "$$" $value) "action" "upsert") -}}
{{- end -}}
{{- end -}}
{{- $_ := set $processors "resource" (dict "attributes" $actions) -}}
{{- end -}}
{{- if $presets.redaction.enabled -}}
{{- $processors = merge $processors (include "tempo-stack.otelCollector.presets.redaction" . | fromYaml) -}}
{{- end -}}
{{- toYaml (merge $processors (include "tempo-stack.otelCollector.sampling" . | fromYaml)) -}}
{{- end }}

{{/*
A text as a literal of OTTL inside the Collector's file, where `$` begins a variable.
Parameter: text.
*/}}
{{- define "tempo-stack.ottl.literal" -}}
{{- quote . | replace "$" "$$" -}}
{{- end }}

{{/*
Conditions of spans that are dropped, in OTTL, as a list.
A probe is known by its client, by the path of the request or by the service of gRPC; only the span of the server goes.
Names of attributes: semantic conventions of HTTP before and since 1.21, and of RPC.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.presets.dropConditions" -}}
{{- $drop := .Values.otelCollector.presets.drop -}}
{{- $conditions := list -}}
{{- if $drop.healthChecks -}}
{{- $client := "^(kube-probe|GoogleHC|ELB-HealthChecker)/" -}}
{{- $path := "^/(-/)?(health|healthz|healthy|livez|live|readyz|ready|actuator/health(/.*)?)/?([?].*)?$" -}}
{{- range $key, $regex := dict
  "user_agent.original" $client "http.user_agent" $client
  "url.path" $path "http.target" $path "http.route" $path
  "rpc.service" "^grpc[.]health[.]v1[.]Health$" -}}
{{- $conditions = append $conditions (printf "kind == SPAN_KIND_SERVER and IsMatch(attributes[%q], %s)" $key (include "tempo-stack.ottl.literal" $regex)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $regex := $drop.names -}}
{{- if $regex -}}
{{- $conditions = append $conditions (printf "IsMatch(name, %s)" (include "tempo-stack.ottl.literal" $regex)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $conditions -}}
{{- end }}

{{/*
Regular expressions (RE2) of values that are masked, as a list: numbers of cards by the ranges of their issuers, addresses of mail,
JSON Web Tokens (RFC 7519: two objects in base64url, of which each begins with `{"`), and the user's.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.presets.redactionPatterns" -}}
{{- $redaction := .Values.otelCollector.presets.redaction -}}
{{- $known := dict
  "creditCards" "\\b(?:(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6(?:011|5[0-9]{2})|35[0-9]{2})(?:[ -]?[0-9]{4}){3}|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5}|3(?:0[0-5]|[68][0-9])[0-9][ -]?[0-9]{6}[ -]?[0-9]{4})\\b"
  "emails" "[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:[.][A-Za-z0-9-]+)+"
  "jwt" "\\beyJ[A-Za-z0-9_-]+[.]eyJ[A-Za-z0-9_-]+[.][A-Za-z0-9_-]*" -}}
{{- $patterns := list -}}
{{- range $name, $regex := $known -}}
{{- if get $redaction.values $name -}}{{- $patterns = append $patterns $regex -}}{{- end -}}
{{- end -}}
{{- range $name, $regex := $redaction.patterns -}}
{{- if $regex -}}{{- $patterns = append $patterns $regex -}}{{- end -}}
{{- end -}}
{{- toYaml $patterns -}}
{{- end }}

{{/*
The processors that redact. Attributes of resources, scopes, spans and events are the `redaction` processor's, and texts that are no attributes `transform`'s;
an error of either refuses the request, so that nothing gets past.
No processor can look into a link (contrib issue 26660), so links go. What takes them away is a list that is assigned to itself,
which the Collector empties first: should a version not do so, the span goes instead, and its count is in the filter's metric.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.presets.redaction" -}}
{{- $redaction := .Values.otelCollector.presets.redaction -}}
{{- $patterns := include "tempo-stack.otelCollector.presets.redactionPatterns" . | fromYamlArray -}}
{{- $values := list -}}
{{- range $patterns -}}{{- $values = append $values (replace "$" "$$" .) -}}{{- end -}}
{{- $keys := list -}}
{{- range $name, $regex := $redaction.keys -}}
{{- if $regex -}}{{- $keys = append $keys (replace "$" "$$" $regex) -}}{{- end -}}
{{- end -}}
{{- $settings := dict "allow_all_keys" true "redact_all_types" true "blocked_values" $values "blocked_key_patterns" $keys "summary" "info" -}}
{{- $allowed := list -}}
{{- range $key, $allow := $redaction.allowOnlyKeys -}}{{- if $allow -}}{{- $allowed = append $allowed $key -}}{{- end -}}{{- end -}}
{{- if $allowed -}}
{{- $kubernetes := include "tempo-stack.otelCollector.presets.kubernetesKeys" . | fromYamlArray -}}
{{- $allowed = concat (list "service.name") $allowed (keys .Values.otelCollector.presets.resource.attributes) $kubernetes | uniq | sortAlpha -}}
{{- $settings = merge (dict "allow_all_keys" false "allowed_keys" $allowed) $settings -}}
{{- end -}}
{{- $spans := list -}}
{{- $scopes := list -}}
{{- $events := list -}}
{{- range $patterns -}}
{{- $regex := include "tempo-stack.ottl.literal" . -}}
{{- range list "span.name" "span.status.message" "span.trace_state" -}}
{{- $spans = append $spans (printf "replace_pattern(%s, %s, \"****\")" . $regex) -}}
{{- end -}}
{{- range list "scope.name" "scope.version" -}}
{{- $scopes = append $scopes (printf "replace_pattern(%s, %s, \"****\")" . $regex) -}}
{{- end -}}
{{- $events = append $events (printf "replace_pattern(spanevent.name, %s, \"****\")" $regex) -}}
{{- end -}}
{{- $processors := dict "redaction" $settings -}}
{{- if eq $redaction.links "drop" -}}
{{- $spans = append $spans "set(span.links, span.links)" -}}
{{- $_ := set $processors "filter/redaction" (dict "error_mode" "propagate" "traces" (dict "span" (list "Len(links) > 0"))) -}}
{{- end -}}
{{- $statements := list -}}
{{- range list (dict "context" "scope" "statements" $scopes) (dict "context" "span" "statements" $spans) (dict "context" "spanevent" "statements" $events) -}}
{{- if .statements -}}{{- $statements = append $statements . -}}{{- end -}}
{{- end -}}
{{- if $statements -}}
{{- $_ := set $processors "transform/redaction" (dict "error_mode" "propagate" "trace_statements" $statements) -}}
{{- end -}}
{{- toYaml $processors -}}
{{- end }}
