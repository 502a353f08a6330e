{{/*
Services: what those of both components have in common.
*/}}

{{/*
The ports of a map that a Service shows.
Parameters: ports (map by values key), protocol (optional), without (optional list of keys).
*/}}
{{- define "tempo-stack.service.pick" -}}
{{- $picked := dict -}}
{{- range $key, $port := .ports -}}
{{- $wanted := or (not $.protocol) (eq $port.protocol $.protocol) -}}
{{- if and $wanted (not (has $key ($.without | default list))) -}}
{{- $_ := set $picked $key $port -}}
{{- end -}}
{{- end -}}
{{- toYaml $picked -}}
{{- end }}

{{/* Port list of a Service. Parameters: ports (map by values key), nodePorts (map by values key, optional). */}}
{{- define "tempo-stack.servicePorts" -}}
{{- $list := list -}}
{{- range $key, $port := .ports -}}
{{- $entry := merge (dict "port" (int $port.port) "targetPort" (default $port.name $port.targetPort)) $port -}}
{{- with get ($.nodePorts | default dict) (trimPrefix "extraPorts." $key) -}}
{{- $_ := set $entry "nodePort" (int .) -}}
{{- end -}}
{{- $list = append $list $entry -}}
{{- end -}}
{{- toYaml $list -}}
{{- end }}

{{/* Which addresses a Service has: the same for every Service of a component. Parameter: service (values). */}}
{{- define "tempo-stack.service.families" -}}
{{- with .ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The fields of a Service beside its selector and its ports. Parameter: service (values). */}}
{{- define "tempo-stack.service.spec" -}}
type: {{ .type }}
{{- with .loadBalancerClass }}
loadBalancerClass: {{ . | quote }}
{{- end }}
{{- with .loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .externalTrafficPolicy }}
externalTrafficPolicy: {{ . }}
{{- end }}
{{- with .internalTrafficPolicy }}
internalTrafficPolicy: {{ . }}
{{- end }}
{{- with .trafficDistribution }}
trafficDistribution: {{ . }}
{{- end }}
{{- include "tempo-stack.service.families" . }}
{{- end }}

{{/*
"true" when UDP gets a Service of its own: many clouds refuse a load balancer for both protocols.
Parameters: type, ports (map by values key).
*/}}
{{- define "tempo-stack.service.split" -}}
{{- $protocols := dict -}}
{{- range .ports -}}{{- $_ := set $protocols .protocol true -}}{{- end -}}
{{- if and (eq .type "LoadBalancer") (eq (len $protocols) 2) -}}true{{- end -}}
{{- end }}
