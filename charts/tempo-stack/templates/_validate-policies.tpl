{{/* Guards of NetworkPolicies; _validate.tpl runs them. */}}

{{/* Who names peers wants others kept out. */}}
{{- define "tempo-stack.validate.policyOff" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if not $policy.enabled -}}
{{- range $key := list "ingest" "query" "metrics" -}}
{{- with (get $policy $key).from }}
networkPolicy.{{ $key }}.from names {{ keys . | sortAlpha | join ", " }} while networkPolicy.enabled is false: nobody would be kept out. Set networkPolicy.enabled to true, or leave the peers out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The API refuses a peer that is both, or nothing. */}}
{{- define "tempo-stack.validate.policyPeers" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $all := dict "ingest.from" $policy.ingest.from "query.from" $policy.query.from "metrics.from" $policy.metrics.from -}}
{{- range $key, $target := omit $policy.egress "extra" -}}{{- $_ := set $all (printf "egress.%s.to" $key) $target.to -}}{{- end -}}
{{- range $key, $peers := $all -}}
{{- range $name, $peer := $peers -}}
{{- $selects := or (hasKey $peer "podSelector") (hasKey $peer "namespaceSelector") -}}
{{- if and $selects (hasKey $peer "ipBlock") }}
networkPolicy.{{ $key }}.{{ $name }} has ipBlock beside a selector: the API takes one or the other. Make two peers of it.
{{- else if or (omit $peer "podSelector" "namespaceSelector" "ipBlock") (not $peer) }}
networkPolicy.{{ $key }}.{{ $name }} is {{ toJson $peer }}: a peer has podSelector, namespaceSelector or both, or ipBlock. Write one of them.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What comes through a load balancer or a node's port has no pod's address. */}}
{{- define "tempo-stack.validate.policyOutside" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- range $component, $key := dict "otelCollector" "ingest" "tempo" "query" -}}
{{- $values := get $.Values $component -}}
{{- if and $values.enabled (has $values.service.type (list "LoadBalancer" "NodePort")) -}}
{{- $outside := false -}}
{{- range (get $policy $key).from -}}{{- if .ipBlock -}}{{- $outside = true -}}{{- end -}}{{- end -}}
{{- if not $outside }}
{{ $component }}.service.type is {{ $values.service.type }} while networkPolicy.{{ $key }}.from has no ipBlock: whoever comes from outside of the cluster would be kept out. Name a peer with an ipBlock of the addresses that the pods see, often those of the nodes, or set the type to ClusterIP.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
