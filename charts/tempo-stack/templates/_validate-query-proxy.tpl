{{/* Guards of the guarded door to queries; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.queryProxyTempo" -}}
{{- if and .Values.queryProxy.enabled (not .Values.tempo.enabled) }}
queryProxy.enabled is true while tempo.enabled is false: there would be no Tempo behind it. Install it with the release that has the Tempo, or set queryProxy.enabled to false.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.queryProxyAuth" -}}
{{- $proxy := .Values.queryProxy -}}
{{- if and $proxy.enabled (not $proxy.auth.existingSecret) }}
queryProxy.auth.existingSecret is empty while queryProxy.enabled is true: nobody could come in. Set it to a Secret whose key {{ $proxy.auth.existingSecretKey }} holds the lines of an htpasswd file.
{{- else if and $proxy.enabled (not $proxy.auth.existingSecretKey) }}
queryProxy.auth.existingSecretKey is empty: the key of a Secret has a name. Set it, for example to htpasswd.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.queryProxyTls" -}}
{{- $proxy := .Values.queryProxy -}}
{{- $tls := $proxy.tls -}}
{{- if $proxy.enabled -}}
{{- if and $tls.enabled (not $tls.existingSecret) }}
queryProxy.tls.existingSecret is empty while queryProxy.tls.enabled is true: there would be no certificate. Set it to a Secret of the type kubernetes.io/tls.
{{- else if and $tls.existingSecret (not $tls.enabled) }}
queryProxy.tls.existingSecret is {{ $tls.existingSecret }} while queryProxy.tls.enabled is false: passwords and traces would still travel as plain text. Set queryProxy.tls.enabled to true, or leave existingSecret out.
{{- else if not (has (toString $tls.minVersion) (list "1.2" "1.3")) }}
queryProxy.tls.minVersion is {{ $tls.minVersion }}: versions of TLS before 1.2 are broken (RFC 8996). Set it to "1.2" or "1.3".
{{- else if and (not $tls.enabled) (not (include "tempo-stack.queryProxy.mixes" .)) }}
queryProxy.image.tag is {{ $proxy.image.tag }} while queryProxy.tls.enabled is false: before 1.25.1 nginx can't answer HTTP and stream over gRPC at one port of plain text. Set the tag to 1.25.1 or later, or queryProxy.tls.enabled to true.
{{- end -}}
{{- end -}}
{{- end }}

{{/* With tenants named, each user reads one of them. */}}
{{- define "tempo-stack.validate.queryProxyTenants" -}}
{{- $proxy := .Values.queryProxy -}}
{{- $tenants := include "tempo-stack.tenants" . | fromYaml -}}
{{- $user := .Values.grafana.datasource.basicAuth.user -}}
{{- if and $proxy.tenants (not (include "tempo-stack.tenants.named" .)) }}
queryProxy.tenants names {{ keys $proxy.tenants | sortAlpha | first }} while tenants.enabled is false: every user reads everything. Set tenants.enabled to true, or leave queryProxy.tenants out.
{{- else if and $proxy.enabled $tenants -}}
{{- if not $proxy.tenants }}
queryProxy.tenants is empty while tenants.enabled is true: nobody would read anything. Name the tenant of each user of the Secret {{ $proxy.auth.existingSecret }}, for example {grafana: {{ keys $tenants | sortAlpha | first }}}.
{{- else if and .Values.grafana.datasource.enabled (not .Values.grafana.datasource.url) $user (not (hasKey $proxy.tenants $user)) }}
grafana.datasource.basicAuth.user is {{ $user }}, whom queryProxy.tenants doesn't name: the datasource would read nothing. Name this user's tenant there.
{{- end -}}
{{- range $user, $tenant := $proxy.tenants -}}
{{- if not (hasKey $tenants (toString $tenant)) }}
queryProxy.tenants.{{ $user }} is {{ $tenant }}: there is no such tenant. Set it to one of {{ keys $tenants | sortAlpha | join ", " }}, or name it in tenants.list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.queryProxyPorts" -}}
{{- with .Values.queryProxy -}}
{{- if and .enabled (eq (int .healthPort) (int .service.port)) }}
queryProxy.healthPort and queryProxy.service.port are both {{ int .healthPort }}: a pod has each port once. Change one of them.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The datasource goes through the door, and has to show something there. */}}
{{- define "tempo-stack.validate.grafanaCredentials" -}}
{{- $datasource := .Values.grafana.datasource -}}
{{- $basic := $datasource.basicAuth -}}
{{- if $datasource.enabled -}}
{{- if and .Values.queryProxy.enabled (not $datasource.url) (not $basic.user) }}
grafana.datasource.basicAuth.user is empty while queryProxy.enabled is true: Grafana would be answered with 401. Set it to a user of the Secret {{ .Values.queryProxy.auth.existingSecret }}, or grafana.datasource.url to an address that asks for nothing.
{{- else if $basic.user -}}
{{- if and (eq $datasource.kind "configMap") (not $basic.passwordVariable) }}
grafana.datasource.basicAuth.passwordVariable is empty while grafana.datasource.basicAuth.user is {{ $basic.user }}: the datasource would have no password. Set it to the environment variable of Grafana that holds it, which Grafana's chart takes from a Secret with envFromSecret.
{{- else if and (eq $datasource.kind "grafanaDatasource") (not $basic.existingSecret) }}
grafana.datasource.basicAuth.existingSecret is empty while grafana.datasource.basicAuth.user is {{ $basic.user }}: the operator would find no password. Set it to a Secret in the namespace of the GrafanaDatasource whose key {{ $basic.passwordKey }} holds it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
