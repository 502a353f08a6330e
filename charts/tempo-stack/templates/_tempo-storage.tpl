{{/*
Where Tempo keeps blocks: its volume or an object store, the credentials of that, and a cache in front of it.
*/}}

{{/* Stores other than the volume; each has a define "tempo-stack.tempo.storage.<name>", and a prefix. */}}
{{- define "tempo-stack.tempo.storage.remote" -}}
{{- if has .Values.tempo.storage.backend (list "s3" "gcs" "azure") -}}true{{- end -}}
{{- end }}

{{/* What of a store people call it by: its bucket or container. Parameter: root context. */}}
{{- define "tempo-stack.tempo.storage.place" -}}
{{- $storage := .Values.tempo.storage -}}
{{- if eq $storage.backend "azure" -}}
the container {{ $storage.azure.container }}
{{- else -}}
the bucket {{ (get $storage $storage.backend).bucket }}
{{- end -}}
{{- end }}

{{/* Where blocks and the write-ahead log are. */}}
{{- define "tempo-stack.tempo.config.storage" -}}
{{- $storage := .Values.tempo.storage -}}
{{- $data := include "tempo-stack.tempo.dataPath" . -}}
{{- $trace := dict "backend" $storage.backend "wal" (dict "path" (include "tempo-stack.tempo.log.v2" .)) -}}
{{- if include "tempo-stack.tempo.storage.remote" . -}}
{{- $store := include (printf "tempo-stack.tempo.storage.%s" $storage.backend) . | fromYaml -}}
{{- /* Tempo writes blocks below "/tempo", and looks for them below "tempo". */ -}}
{{- with include "tempo-stack.tempo.storage.prefix" . -}}{{- $_ := set $store "prefix" . -}}{{- end -}}
{{- $_ := set $trace $storage.backend $store -}}
{{- else -}}
{{- $_ := set $trace "local" (dict "path" (printf "%s/blocks" $data)) -}}
{{- end -}}
{{- /* 2.3 would write vParquet2, which 2.10 can't read any more. */ -}}
{{- if include "tempo-stack.tempo.is" (dict "ctx" . "constraint" "<2.4.0") -}}
{{- $_ := set $trace "block" (dict "version" "vParquet3") -}}
{{- end -}}
{{- dict "storage" (dict "trace" $trace) | toYaml -}}
{{- end }}

{{- define "tempo-stack.tempo.storage.s3" -}}
{{- $s3 := .Values.tempo.storage.s3 -}}
{{- $config := dict
  "bucket" $s3.bucket
  "endpoint" (include "tempo-stack.tempo.s3.endpoint" .)
  "insecure" $s3.insecure
  "forcepathstyle" $s3.forcePathStyle -}}
{{- if $s3.caSecret -}}
{{- $_ := set $config "tls_ca_path" (printf "%s/ca.crt" (include "tempo-stack.tempo.storage.path" .)) -}}
{{- end -}}
{{- $sse := include "tempo-stack.filled" (dict "type" $s3.sse.type "kms_key_id" $s3.sse.kmsKeyId "kms_encryption_context" $s3.sse.kmsEncryptionContext) | fromYaml -}}
{{- include "tempo-stack.filled" (dict "region" $s3.region "storage_class" $s3.storageClass "tags" $s3.tags "sse" $sse) | fromYaml | merge $config | toYaml -}}
{{- end }}

{{- define "tempo-stack.tempo.storage.gcs" -}}
{{- $gcs := .Values.tempo.storage.gcs -}}
{{- include "tempo-stack.filled" (dict "bucket_name" $gcs.bucket "endpoint" $gcs.endpoint "insecure" $gcs.insecure) -}}
{{- end }}

{{- define "tempo-stack.tempo.storage.azure" -}}
{{- $azure := .Values.tempo.storage.azure -}}
{{- include "tempo-stack.filled" (dict
  "storage_account_name" $azure.account
  "container_name" $azure.container
  "endpoint_suffix" $azure.endpointSuffix
  "use_federated_token" $azure.useFederatedToken
  "use_managed_identity" $azure.useManagedIdentity
  "user_assigned_id" $azure.userAssignedId) -}}
{{- end }}

{{/* Host of the S3 store. */}}
{{- define "tempo-stack.tempo.s3.endpoint" -}}
{{- $s3 := .Values.tempo.storage.s3 -}}
{{- if $s3.endpoint -}}
{{- $s3.endpoint -}}
{{- else if $s3.region -}}
{{- printf "s3.%s.amazonaws.com%s" $s3.region (ternary ".cn" "" (hasPrefix "cn-" $s3.region)) -}}
{{- end -}}
{{- end }}

{{/* Objects of S3 credentials: the Secret that the chart makes, and the one that the pod reads (empty: the pod's role). */}}
{{- define "tempo-stack.tempo.s3.ownSecretName" -}}
{{- $s3 := .Values.tempo.storage.s3 -}}
{{- if and (eq .Values.tempo.storage.backend "s3") $s3.accessKey -}}
{{- include "tempo-stack.tempo.fullname" . }}-s3
{{- end -}}
{{- end }}
{{- define "tempo-stack.tempo.s3.secretName" -}}
{{- default (include "tempo-stack.tempo.s3.ownSecretName" .) .Values.tempo.storage.s3.existingSecret -}}
{{- end }}

{{/* Contents of the Secret that the chart makes of credentials in clear. */}}
{{- define "tempo-stack.tempo.s3.secretData" -}}
{{- $s3 := .Values.tempo.storage.s3 -}}
{{ $s3.existingSecretKeys.accessKey | quote }}: {{ $s3.accessKey | quote }}
{{ $s3.existingSecretKeys.secretKey | quote }}: {{ $s3.secretKey | quote }}
{{- end }}

{{/* Variables that carry the credentials into the container: Tempo reads them itself, so its file needs none. Parameter: root context. */}}
{{- define "tempo-stack.tempo.storage.env" -}}
{{- $storage := .Values.tempo.storage -}}
{{- $secret := "" -}}
{{- $variables := dict -}}
{{- if eq $storage.backend "s3" -}}
{{- $keys := $storage.s3.existingSecretKeys -}}
{{- $secret = include "tempo-stack.tempo.s3.secretName" . -}}
{{- $variables = dict "AWS_ACCESS_KEY_ID" $keys.accessKey "AWS_SECRET_ACCESS_KEY" $keys.secretKey "AWS_SESSION_TOKEN" $keys.sessionToken -}}
{{- else if eq $storage.backend "azure" -}}
{{- $secret = $storage.azure.existingSecret -}}
{{- $variables = dict "AZURE_STORAGE_KEY" $storage.azure.existingSecretKey -}}
{{- else if and (eq $storage.backend "gcs") $storage.gcs.existingSecret -}}
GOOGLE_APPLICATION_CREDENTIALS: {{ include "tempo-stack.tempo.storage.path" . }}/credentials.json
{{- end -}}
{{- if $secret -}}
{{- range $name, $key := $variables -}}
{{- if $key }}
{{ $name }}: {valueFrom: {secretKeyRef: {name: {{ $secret | quote }}, key: {{ $key | quote }}}}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Folder of the files below: a certificate authority, or the credentials of GCS. */}}
{{- define "tempo-stack.tempo.storage.path" -}}/etc/tempo-storage{{- end }}

{{/* Volume of a file that the store needs, as a YAML list of none or one. Parameter: root context. */}}
{{- define "tempo-stack.tempo.storage.volumes" -}}
{{- $storage := .Values.tempo.storage -}}
{{- $file := list "" "" "" -}}
{{- if eq $storage.backend "s3" -}}
{{- $file = list $storage.s3.caSecret $storage.s3.caSecretKey "ca.crt" -}}
{{- else if eq $storage.backend "gcs" -}}
{{- $file = list $storage.gcs.existingSecret $storage.gcs.existingSecretKey "credentials.json" -}}
{{- end -}}
{{- $volumes := list -}}
{{- with first $file -}}
{{- $items := list (dict "key" (index $file 1) "path" (last $file)) -}}
{{- $volumes = append $volumes (dict "name" "storage" "secret" (dict "secretName" . "items" $items)) -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end }}

{{/* Label that makes Azure's webhook give the pod a token of its ServiceAccount. Parameter: root context. */}}
{{- define "tempo-stack.tempo.storage.labels" -}}
{{- if and (eq .Values.tempo.storage.backend "azure") .Values.tempo.storage.azure.useFederatedToken -}}
azure.workload.identity/use: "true"
{{- end -}}
{{- end }}

{{/* Memcached between Tempo and the store. */}}
{{- define "tempo-stack.tempo.config.cache" -}}
{{- with .Values.tempo.cache.memcached -}}
{{- if .addresses -}}
{{- /* A server that is away would cost each read the timeout. */ -}}
{{- $breaker := dict "circuit_breaker_consecutive_failures" 10 "circuit_breaker_timeout" "10s" -}}
{{- $memcached := merge (dict "addresses" (join "," .addresses) "timeout" .timeout "consistent_hash" true) $breaker -}}
{{- dict "cache" (dict "caches" (list (dict "roles" .roles "memcached" $memcached))) | toYaml -}}
{{- end -}}
{{- end -}}
{{- end }}
