{{/* Guards of tempo.storage and tempo.cache; _validate.tpl runs them. */}}

{{- define "tempo-stack.validate.tempoBackend" -}}
{{- if and .Values.tempo.enabled (ne .Values.tempo.storage.backend "local") (not (include "tempo-stack.tempo.storage.remote" .)) -}}
tempo.storage.backend is {{ .Values.tempo.storage.backend | quote }}: not a backend that the chart knows. Set it to local, s3, gcs or azure.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoStoreName" -}}
{{- $storage := .Values.tempo.storage -}}
{{- if .Values.tempo.enabled -}}
{{- range get (dict "local" list "s3" (list "bucket") "gcs" (list "bucket") "azure" (list "account" "container")) $storage.backend | default list -}}
{{- if not (get (get $storage $storage.backend) .) }}
tempo.storage.{{ $storage.backend }}.{{ . }} is empty: with tempo.storage.backend {{ $storage.backend }} Tempo needs {{ ternary "an" "a" (eq . "account") }} {{ . }}. Set its name.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Endpoint" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- $endpoint := include "tempo-stack.tempo.s3.endpoint" . -}}
{{- if not $endpoint -}}
tempo.storage.s3.endpoint and tempo.storage.s3.region are both empty: Tempo can't know where the bucket is. Set the region for AWS, or the endpoint for another store.
{{- else if contains "/" $endpoint -}}
tempo.storage.s3.endpoint is {{ $endpoint | quote }}: Tempo wants a host and a port without a scheme or a path. Write for example minio.storage.svc:9000, and tempo.storage.s3.insecure: true for plain HTTP.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Credentials" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled .existingSecret (or .accessKey .secretKey) -}}
tempo.storage.s3.existingSecret is {{ .existingSecret }} and accessKey or secretKey is set too: it is unclear which credentials count. Keep the Secret and remove the keys.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3KeyPair" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled (ne (empty .accessKey) (empty .secretKey)) -}}
{{- $missing := ternary "accessKey" "secretKey" (empty .accessKey) -}}
tempo.storage.s3.{{ $missing }} is empty while its counterpart is set: both are needed. Set it, or use tempo.storage.s3.existingSecret.
{{- end -}}
{{- end -}}
{{- end }}

{{/* The prefix becomes part of every object's name, and stores disagree about empty and relative parts. */}}
{{- define "tempo-stack.validate.tempoStorePrefix" -}}
{{- if and .Values.tempo.enabled (include "tempo-stack.tempo.storage.remote" .) -}}
{{- $backend := .Values.tempo.storage.backend -}}
{{- $store := get .Values.tempo.storage $backend -}}
{{- range splitList "/" (trimAll "/" $store.prefix) -}}
{{- if or (has . (list "." "..")) (and (eq . "") $store.prefix) }}
tempo.storage.{{ $backend }}.prefix is {{ $store.prefix | quote }}: between two slashes stands {{ quote . }}, under which Tempo would not find its blocks again. Write a folder such as tempo or team-a/tempo.
{{- end -}}
{{- end -}}
{{- range $key := list "bucket" "container" -}}
{{- if contains "/" (get $store $key) }}
tempo.storage.{{ $backend }}.{{ $key }} is {{ get $store $key | quote }}: a {{ $key }}'s name holds no slash. Put what is behind it into tempo.storage.{{ $backend }}.prefix.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
These versions put the prefix twice in front of what retention and compaction delete (grafana/tempo, pull request 7271,
which is in none of them).
*/}}
{{- define "tempo-stack.validate.tempoAzurePrefix" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "azure") (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" ">=2.10.0, <=2.10.8 || >=3.0.0, <=3.0.3")) -}}
{{- $version := include "tempo-stack.tempo.version" . -}}
{{- if include "tempo-stack.tempo.mirrored" . -}}
tempo.replicas is 2 with blocks at Azure and Tempo {{ $version }}: the second mirror has a folder in the container, and from a folder there this Tempo never deletes a block. Set tempo.image.tag to 2.9.5, tempo.replicas to 1, or tempo.storage.backend to another store.
{{- else -}}
{{- with dig "storage" "trace" "azure" "prefix" "" (include "tempo-stack.tempo.config" . | fromYaml) -}}
tempo.storage.azure.prefix is {{ . }} with Tempo {{ $version }}: from a folder in a container this Tempo never deletes a block, and the container grows for ever. Leave it empty and give Tempo a container of its own, or set tempo.image.tag to 2.9.5.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3KeyText" -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- range $key := list "accessKey" "secretKey" -}}
{{- if regexMatch "[\\x00-\\x1f\\x7f]|^ | $" (get $.Values.tempo.storage.s3 $key) }}
tempo.storage.s3.{{ $key }} has a line break, another control character or a space at its end, as a file often leaves it: the store would refuse it. Remove it.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What the store encrypts with, which Tempo asks for since 2.8. */}}
{{- define "tempo-stack.validate.tempoS3Sse" -}}
{{- $sse := .Values.tempo.storage.s3.sse -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") -}}
{{- if and $sse.type (include "tempo-stack.tempo.is" (dict "ctx" . "constraint" "<2.8.0")) }}
tempo.storage.s3.sse.type is {{ $sse.type }}: Tempo {{ include "tempo-stack.tempo.version" . }} doesn't know the key and would not start. Set tempo.image.tag to 2.8.0 or later, or let the bucket encrypt by default.
{{- end -}}
{{- if and (eq $sse.type "SSE-KMS") (not $sse.kmsKeyId) }}
tempo.storage.s3.sse.kmsKeyId is empty while tempo.storage.s3.sse.type is SSE-KMS: Tempo would not start without a key. Set its id or ARN, or the type to SSE-S3.
{{- end -}}
{{- range $key, $value := omit $sse "type" -}}
{{- if and $value (ne $sse.type "SSE-KMS") }}
tempo.storage.s3.sse.{{ $key }} is {{ $value | quote }} while tempo.storage.s3.sse.type is {{ $sse.type | quote }}: it would not be used. Set the type to SSE-KMS, or leave it out.
{{- end -}}
{{- end -}}
{{- with $sse.kmsEncryptionContext -}}
{{- if hasKey (fromJson .) "Error" }}
tempo.storage.s3.sse.kmsEncryptionContext is {{ . | quote }}: not a JSON object. Write for example {"team": "traces"}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Objects of these classes have to be restored before they are read, which Tempo doesn't do. */}}
{{- define "tempo-stack.validate.tempoS3StorageClass" -}}
{{- $class := .Values.tempo.storage.s3.storageClass -}}
{{- if and .Values.tempo.enabled (eq .Values.tempo.storage.backend "s3") (has $class (list "GLACIER" "DEEP_ARCHIVE")) -}}
tempo.storage.s3.storageClass is {{ $class }}: the store answers no read from its archive, so that Tempo would not find its own blocks. Set it to STANDARD_IA, GLACIER_IR or another class that answers at once.
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Ca" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled (eq $.Values.tempo.storage.backend "s3") .caSecret .insecure -}}
tempo.storage.s3.caSecret is {{ .caSecret }} while tempo.storage.s3.insecure is true: over HTTP there is no certificate to check. Set insecure to false, or leave the Secret out.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoS3Session" -}}
{{- with .Values.tempo.storage.s3 -}}
{{- if and $.Values.tempo.enabled (eq $.Values.tempo.storage.backend "s3") .existingSecretKeys.sessionToken (not .existingSecret) -}}
tempo.storage.s3.existingSecretKeys.sessionToken is {{ .existingSecretKeys.sessionToken }} while tempo.storage.s3.existingSecret is empty: there is no Secret to take the token from. Put all three into a Secret and name it.
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoGcs" -}}
{{- with .Values.tempo.storage.gcs -}}
{{- if and $.Values.tempo.enabled (eq $.Values.tempo.storage.backend "gcs") -}}
{{- if and .endpoint (not (regexMatch "^https?://.+/$" .endpoint)) }}
tempo.storage.gcs.endpoint is {{ .endpoint | quote }}: Tempo wants a URL with the path of the API. Write for example http://gcs.storage.svc:4443/storage/v1/, or leave it empty for Google's.
{{- end -}}
{{- if and .insecure .existingSecret }}
tempo.storage.gcs.insecure is true while tempo.storage.gcs.existingSecret is {{ .existingSecret }}: the credentials would not be sent. Set insecure to false, or leave the Secret out.
{{- end -}}
{{- if and .insecure (not .endpoint) }}
tempo.storage.gcs.insecure is true while tempo.storage.gcs.endpoint is empty: Google takes nothing without credentials. Set insecure to false, or the endpoint of an emulator.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Who Tempo is at Azure: exactly one of them. A key may come by a variable of the user's too. */}}
{{- define "tempo-stack.validate.tempoAzure" -}}
{{- $tempo := .Values.tempo -}}
{{- with $tempo.storage.azure -}}
{{- if and $tempo.enabled (eq $tempo.storage.backend "azure") -}}
{{- $ways := list -}}
{{- range list "existingSecret" "useFederatedToken" "useManagedIdentity" -}}
{{- if get $tempo.storage.azure . -}}{{- $ways = append $ways (printf "tempo.storage.azure.%s" .) -}}{{- end -}}
{{- end -}}
{{- $variable := or $tempo.extraEnvFrom (contains "AZURE_STORAGE_KEY" (toJson $tempo.extraEnv)) -}}
{{- if gt (len $ways) 1 }}
{{ join " and " $ways }} are set together: it is unclear which credentials count. Keep one of them.
{{- else if not (or $ways $variable) }}
tempo.storage.azure.existingSecret is empty, and so are useFederatedToken and useManagedIdentity: Tempo would have no credentials. Name a Secret with a key of the account, or set one of the two to true.
{{- end -}}
{{- if and .userAssignedId (not .useManagedIdentity) }}
tempo.storage.azure.userAssignedId is {{ .userAssignedId }} while tempo.storage.azure.useManagedIdentity is false: it would not be used. Set useManagedIdentity to true; the webhook of useFederatedToken reads the id from an annotation of the ServiceAccount.
{{- end -}}
{{- if contains "/" .endpointSuffix }}
tempo.storage.azure.endpointSuffix is {{ .endpointSuffix | quote }}: Tempo wants what follows the account in the host name. Write for example blob.core.usgovcloudapi.net, or host and port of an emulator.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.tempoCache" -}}
{{- $tempo := .Values.tempo -}}
{{- with $tempo.cache.memcached -}}
{{- if and $tempo.enabled .addresses -}}
{{- $addresses := toJson .addresses -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" $ "constraint" "<2.4.0") }}
tempo.cache.memcached.addresses is {{ $addresses }}: Tempo {{ include "tempo-stack.tempo.version" $ }} doesn't know the block cache and would not start. Set tempo.image.tag to 2.4.0 or later, or leave the addresses out.
{{- end -}}
{{- if eq $tempo.storage.backend "local" }}
tempo.cache.memcached.addresses is {{ $addresses }} while tempo.storage.backend is local: the volume answers faster than another pod. Leave the addresses out, or set the backend to s3, gcs or azure.
{{- end -}}
{{- range .addresses -}}
{{- if not (regexMatch "^(dns|dnssrv|dnssrvnoa)\\+.+$|^[^/ ]+:[0-9]+$" .) }}
tempo.cache.memcached.addresses has {{ . | quote }}: not a server with its port. Write for example memcached.cache.svc:11211.
{{- end -}}
{{- end -}}
{{- if not .roles }}
tempo.cache.memcached.roles is empty while tempo.cache.memcached.addresses is {{ $addresses }}: nothing would be kept there, and Tempo would not start. Name a role such as bloom.
{{- end -}}
{{- if dig "cache" "caches" "" ($tempo.config | default dict) }}
tempo.config.cache.caches is set while tempo.cache.memcached.addresses is {{ $addresses }}: one list would replace the other. Keep one of them.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
