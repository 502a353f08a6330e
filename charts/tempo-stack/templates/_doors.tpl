{{/*
TLS and authentication: of the Collector's receivers, between the Collector and Tempo, and of the test that comes in through them.
*/}}

{{/* Folders of the certificates and credentials in the Collector's container. */}}
{{- define "tempo-stack.otelCollector.doorPath" -}}/etc/otelcol-doors{{- end }}
{{- define "tempo-stack.tempo.tlsPath" -}}/etc/tempo-tls{{- end }}

{{/* "true" when the receivers speak TLS, and when they ask who sends: by a credential, or by a certificate. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.hasAuth" -}}
{{- if ne .Values.otelCollector.auth.type "none" -}}true{{- end -}}
{{- end }}
{{- define "tempo-stack.otelCollector.guarded" -}}
{{- if or .Values.otelCollector.tls.enabled (include "tempo-stack.otelCollector.hasAuth" .) -}}true{{- end -}}
{{- end }}

{{/* The Secret with the Collector's certificate. */}}
{{- define "tempo-stack.otelCollector.tls.secretName" -}}
{{- default (printf "%s-tls" (include "tempo-stack.otelCollector.fullname" .)) .Values.otelCollector.tls.existingSecret -}}
{{- end }}

{{/* Every name by which a client inside the cluster may call the Collector's Service, as a list. */}}
{{- define "tempo-stack.otelCollector.tls.names" -}}
{{- $name := include "tempo-stack.otelCollector.serviceName" . -}}
{{- $namespace := .Release.Namespace -}}
{{- list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (include "tempo-stack.otelCollector.host" .) | toYaml -}}
{{- end }}

{{/* Key of the credentials inside their Secret. */}}
{{- define "tempo-stack.otelCollector.auth.key" -}}
{{- with .Values.otelCollector.auth -}}
{{- default (include "tempo-stack.otelCollector.auth.defaultKey" .type) .existingSecretKey -}}
{{- end -}}
{{- end }}

{{/* That key where the values name none. Parameter: the type of authentication. */}}
{{- define "tempo-stack.otelCollector.auth.defaultKey" -}}
{{- get (dict "bearer" "tokens" "basic" "htpasswd") . -}}
{{- end }}

{{/* Id of the extension that compares; a name of its own, so that one of the user for an exporter stays apart. */}}
{{- define "tempo-stack.otelCollector.auth.extensionId" -}}
{{- get (dict "bearer" "bearertokenauth/receivers" "basic" "basicauth/receivers" "oidc" "oidc/receivers") .Values.otelCollector.auth.type -}}
{{- end }}

{{/*
That extension. The token file is read again when it changes, from 0.151 on also as a Secret changes it; the htpasswd file at the start only.
0.131 is the first with a list of providers. Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.auth.extension" -}}
{{- $auth := .Values.otelCollector.auth -}}
{{- $file := printf "%s/auth/credentials" (include "tempo-stack.otelCollector.doorPath" .) -}}
{{- if eq $auth.type "bearer" -}}
{{- dict "filename" $file | toYaml -}}
{{- else if eq $auth.type "basic" -}}
{{- dict "htpasswd" (dict "file" $file) | toYaml -}}
{{- else if eq $auth.type "oidc" -}}
{{- $provider := dict "issuer_url" $auth.oidc.issuerUrl "audience" $auth.oidc.audience -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" ">=0.131.0") -}}
{{- $provider = dict "providers" (list $provider) -}}
{{- end -}}
{{- toYaml $provider -}}
{{- end -}}
{{- end }}

{{/* What each common receiver over TCP has beside its endpoint, as a map. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.door" -}}
{{- include "tempo-stack.otelCollector.doorOf" (dict "ctx" . "authenticator" (include "tempo-stack.otelCollector.auth.extensionId" .)) -}}
{{- end }}

{{/* The same for any receiver. Parameters: ctx, authenticator (id of an extension; empty: it doesn't ask). */}}
{{- define "tempo-stack.otelCollector.doorOf" -}}
{{- $tls := .ctx.Values.otelCollector.tls -}}
{{- $path := include "tempo-stack.otelCollector.doorPath" .ctx -}}
{{- $door := dict -}}
{{- if $tls.enabled -}}
{{- $settings := dict
  "cert_file" (printf "%s/tls/tls.crt" $path)
  "key_file" (printf "%s/tls/tls.key" $path)
  "min_version" $tls.minVersion
  "reload_interval" $tls.reloadInterval -}}
{{- if $tls.clientCa.existingSecret -}}
{{- $_ := set $settings "client_ca_file" (printf "%s/client-ca/ca.crt" $path) -}}
{{- $_ := set $settings "client_ca_file_reload" true -}}
{{- end -}}
{{- $_ := set $door "tls" $settings -}}
{{- end -}}
{{- with .authenticator -}}
{{- $_ := set $door "auth" (dict "authenticator" .) -}}
{{- end -}}
{{- toYaml $door -}}
{{- end }}

{{/* A volume of some keys of a Secret, as files. Parameters: name, secret, items (map of file to key). */}}
{{- define "tempo-stack.secretVolume" -}}
{{- $items := list -}}
{{- range $path, $key := .items -}}{{- $items = append $items (dict "key" $key "path" $path) -}}{{- end -}}
{{- dict "name" .name "secret" (dict "secretName" .secret "items" $items) | toYaml -}}
{{- end }}

{{/*
The Collector's volumes with certificates and credentials, as a map of the folder below "tempo-stack.otelCollector.doorPath" to the volume.
A key that its Secret lacks keeps the pod from starting, and its events say which.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.doorVolumes" -}}
{{- $collector := .Values.otelCollector -}}
{{- $tls := $collector.tls -}}
{{- $wanted := dict -}}
{{- if $tls.enabled -}}
{{- $_ := set $wanted "tls" (dict "secret" (include "tempo-stack.otelCollector.tls.secretName" .) "items" (dict "tls.crt" $tls.existingSecretKeys.certificate "tls.key" $tls.existingSecretKeys.key)) -}}
{{- with $tls.clientCa -}}{{- if .existingSecret -}}
{{- $_ := set $wanted "client-ca" (dict "secret" .existingSecret "items" (dict "ca.crt" .existingSecretKey)) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- if has $collector.auth.type (list "bearer" "basic") -}}
{{- $_ := set $wanted "auth" (dict "secret" $collector.auth.existingSecret "items" (dict "credentials" (include "tempo-stack.otelCollector.auth.key" .))) -}}
{{- end -}}
{{- if not (include "tempo-stack.otelCollector.exporterIsPlain" .) -}}
{{- with include "tempo-stack.otelCollector.exporterCaSecret" . -}}
{{- $_ := set $wanted "server-ca" (dict "secret" . "items" (dict "ca.crt" $collector.exporter.tls.caKey)) -}}
{{- end -}}
{{- with $collector.exporter.tls.clientSecret -}}
{{- $_ := set $wanted "client" (dict "secret" . "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- $wanted = merge $wanted (include "tempo-stack.tenants.secrets" . | fromYaml) (include "tempo-stack.otelCollector.kafkaSecrets" . | fromYaml) -}}
{{- $volumes := dict -}}
{{- range $name, $volume := $wanted -}}
{{- $_ := set $volumes $name (include "tempo-stack.secretVolume" (merge (dict "name" (printf "doors-%s" $name)) $volume) | fromYaml) -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end }}

{{/* "true" when the exporter goes to the Tempo of this release, over TLS. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.exportsToOwnTls" -}}
{{- if and .Values.tempo.enabled .Values.tempo.tls.enabled (not .Values.otelCollector.exporter.endpoint) -}}true{{- end -}}
{{- end }}

{{/* "true" when the exporter talks plain text. */}}
{{- define "tempo-stack.otelCollector.exporterIsPlain" -}}
{{- if and .Values.otelCollector.exporter.insecure (not (include "tempo-stack.otelCollector.exportsToOwnTls" .)) -}}true{{- end -}}
{{- end }}

{{/* The Secret with the CA by which the exporter knows its server; empty: what the image trusts. */}}
{{- define "tempo-stack.otelCollector.exporterCaSecret" -}}
{{- if .Values.otelCollector.exporter.tls.caSecret -}}
{{- .Values.otelCollector.exporter.tls.caSecret -}}
{{- else if include "tempo-stack.otelCollector.exportsToOwnTls" . -}}
{{- .Values.tempo.tls.existingSecret -}}
{{- end -}}
{{- end }}

{{/* The exporter's `tls` block. */}}
{{- define "tempo-stack.otelCollector.exporterTls" -}}
{{- $exporter := .Values.otelCollector.exporter -}}
{{- $path := include "tempo-stack.otelCollector.doorPath" . -}}
{{- $tls := dict "insecure" (eq "true" (include "tempo-stack.otelCollector.exporterIsPlain" .)) -}}
{{- if not $tls.insecure -}}
{{- if include "tempo-stack.otelCollector.exporterCaSecret" . -}}{{- $_ := set $tls "ca_file" (printf "%s/server-ca/ca.crt" $path) -}}{{- end -}}
{{- if $exporter.tls.clientSecret -}}
{{- $_ := set $tls "cert_file" (printf "%s/client/tls.crt" $path) -}}
{{- $_ := set $tls "key_file" (printf "%s/client/tls.key" $path) -}}
{{- $_ := set $tls "reload_interval" .Values.otelCollector.tls.reloadInterval -}}
{{- end -}}
{{- with $exporter.tls.serverName -}}{{- $_ := set $tls "server_name_override" . -}}{{- end -}}
{{- end -}}
{{- toYaml $tls -}}
{{- end }}

{{/* The `tls` block of Tempo's receiver; empty when it takes plain text. */}}
{{- define "tempo-stack.tempo.receiverTls" -}}
{{- $tls := .Values.tempo.tls -}}
{{- if $tls.enabled -}}
{{- $path := include "tempo-stack.tempo.tlsPath" . -}}
{{- $settings := dict
  "cert_file" (printf "%s/certificate/tls.crt" $path)
  "key_file" (printf "%s/certificate/tls.key" $path)
  "min_version" $tls.minVersion
  "reload_interval" $tls.reloadInterval -}}
{{- if $tls.clientCaSecret -}}
{{- $_ := set $settings "client_ca_file" (printf "%s/client-ca/ca.crt" $path) -}}
{{- $_ := set $settings "client_ca_file_reload" true -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}
{{- end }}

{{/* Tempo's volumes with certificates, as a map of the folder below "tempo-stack.tempo.tlsPath" to the volume. */}}
{{- define "tempo-stack.tempo.tlsVolumes" -}}
{{- $tls := .Values.tempo.tls -}}
{{- if $tls.enabled -}}
certificate:
  {{- include "tempo-stack.secretVolume" (dict "name" "tls-certificate" "secret" $tls.existingSecret "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) | nindent 2 }}
{{- if $tls.clientCaSecret }}
client-ca:
  {{- include "tempo-stack.secretVolume" (dict "name" "tls-client-ca" "secret" $tls.clientCaSecret "items" (dict "ca.crt" "ca.crt")) | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Mounts of a map of folder to volume. Parameters: path (above the folders), volumes. */}}
{{- define "tempo-stack.secretMounts" -}}
{{- $mounts := list -}}
{{- range $folder, $volume := .volumes -}}
{{- $mounts = append $mounts (dict "name" $volume.name "mountPath" (printf "%s/%s" $.path $folder) "readOnly" true) -}}
{{- end -}}
{{- toYaml $mounts -}}
{{- end }}

{{/* Folder of what the test shows. */}}
{{- define "tempo-stack.test.doorPath" -}}/etc/test-doors{{- end }}

{{/*
The way by which the test comes in: `url` (empty: there is none), `tenant` (empty: Tempo asks for none) and `auth`, what is asked
for there. With tenants named it is that of helmTest.client.tenant; or the common one; or the first that there is.
Parameter: root context.
*/}}
{{- define "tempo-stack.test.way" -}}
{{- $collector := .Values.otelCollector -}}
{{- $auth := merge (dict "existingSecretKey" (include "tempo-stack.otelCollector.auth.key" .)) (omit $collector.auth "oidc") -}}
{{- $common := ternary (include "tempo-stack.otelCollector.otlpHttpEndpoint" .) "" $collector.receivers.otlpHttp.enabled -}}
{{- $way := dict "url" $common "tenant" "" "auth" $auth -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- $default := .Values.tenants.default -}}
{{- $wanted := .Values.helmTest.client.tenant -}}
{{- $way = dict "url" "" "tenant" "" "auth" $auth -}}
{{- if and $default $common (has $wanted (list "" $default)) -}}
{{- $way = dict "url" $common "tenant" $default "auth" $auth -}}
{{- else -}}
{{- range $id, $tenant := include "tempo-stack.tenants" . | fromYaml -}}
{{- if and (not $way.url) $tenant.ports.otlpHttp (has $wanted (list "" $id)) -}}
{{- $way = dict "url" (include "tempo-stack.otelCollector.httpUrl" (dict "ctx" $ "port" $tenant.ports.otlpHttp)) "tenant" $id "auth" $tenant.auth -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $way -}}
{{- end }}

{{/* "true" where the test comes in over TLS or shows a credential. Parameter: root context. */}}
{{- define "tempo-stack.test.guarded" -}}
{{- if or .Values.otelCollector.tls.enabled (ne (include "tempo-stack.test.way" . | fromYaml).auth.type "none") -}}true{{- end -}}
{{- end }}

{{/* "true" when the test can't come in, because nobody told it with what. Parameter: root context. */}}
{{- define "tempo-stack.test.lacksKey" -}}
{{- $client := .Values.helmTest.client -}}
{{- $collector := .Values.otelCollector -}}
{{- if or
  (and (has (include "tempo-stack.test.way" . | fromYaml).auth.type (list "basic" "oidc")) (not $client.credentialsSecret))
  (and $collector.tls.enabled $collector.tls.clientCa.existingSecret (not $client.certificateSecret)) -}}true{{- end -}}
{{- end }}

{{/* The test's volumes with what it shows, as a map of folder to volume. Parameter: root context. */}}
{{- define "tempo-stack.test.doorVolumes" -}}
{{- $client := .Values.helmTest.client -}}
{{- $collector := .Values.otelCollector -}}
{{- $wanted := dict -}}
{{- if $collector.tls.enabled -}}
{{- $_ := set $wanted "ca" (dict "secret" (default (include "tempo-stack.otelCollector.tls.secretName" .) $client.caSecret) "items" (dict "ca.crt" $client.caKey)) -}}
{{- if $client.certificateSecret -}}
{{- $_ := set $wanted "certificate" (dict "secret" $client.certificateSecret "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- $auth := (include "tempo-stack.test.way" . | fromYaml).auth -}}
{{- if ne $auth.type "none" -}}
{{- if $client.credentialsSecret -}}
{{- $_ := set $wanted "credentials" (dict "secret" $client.credentialsSecret "items" (dict "credentials" $client.credentialsKey)) -}}
{{- else if eq $auth.type "bearer" -}}
{{- $_ := set $wanted "credentials" (dict "secret" $auth.existingSecret "items" (dict "credentials" $auth.existingSecretKey)) -}}
{{- end -}}
{{- end -}}
{{- $volumes := dict -}}
{{- range $name, $volume := $wanted -}}
{{- $volume = include "tempo-stack.secretVolume" (merge (dict "name" (printf "door-%s" $name)) $volume) | fromYaml -}}
{{- /* A certificate of a public CA comes without one. */ -}}
{{- if eq $name "ca" -}}{{- $_ := set $volume.secret "optional" true -}}{{- end -}}
{{- $_ := set $volumes $name $volume -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end }}
