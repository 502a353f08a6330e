{{/*
The receiver that reads a topic of Kafka. A record is marked as read once the exporters' queues have its spans, and what can't be taken now is tried again
for ever, while its partition waits. What nobody can read is left out: it would keep the partition for ever.
The password is in a file of a Secret, which the Collector reads at its start; it replaces variables in it.
Parameter: root context.
*/}}
{{- define "tempo-stack.otelCollector.kafka" -}}
{{- $kafka := .Values.otelCollector.receivers.kafka -}}
{{- $path := include "tempo-stack.otelCollector.doorPath" . -}}
{{- $receiver := dict
  "brokers" $kafka.brokers
  "group_id" (default (printf "%s-%s" .Release.Namespace (include "tempo-stack.fullname" .)) $kafka.groupId)
  "initial_offset" "earliest"
  "traces" (dict "topics" (list $kafka.topic) "encoding" $kafka.encoding)
  "message_marking" (dict "after" true "on_error" false "on_permanent_error" true)
  "error_backoff" (dict "enabled" true "initial_interval" "1s" "max_interval" "5s" "multiplier" 1.5 "randomization_factor" 0.5 "max_elapsed_time" "0s") -}}
{{- if $kafka.sasl.existingSecret -}}
{{- $_ := set $receiver "auth" (dict "sasl" (dict
  "mechanism" $kafka.sasl.mechanism
  "username" (replace "$" "$$" $kafka.sasl.username)
  "password" (printf "${file:%s/kafka/password}" $path))) -}}
{{- end -}}
{{- if $kafka.tls.enabled -}}
{{- $tls := dict "insecure" false -}}
{{- if $kafka.tls.caSecret -}}{{- $_ := set $tls "ca_file" (printf "%s/kafka-ca/ca.crt" $path) -}}{{- end -}}
{{- if $kafka.tls.clientSecret -}}
{{- $_ := set $tls "cert_file" (printf "%s/kafka-client/tls.crt" $path) -}}
{{- $_ := set $tls "key_file" (printf "%s/kafka-client/tls.key" $path) -}}
{{- $_ := set $tls "reload_interval" .Values.otelCollector.tls.reloadInterval -}}
{{- end -}}
{{- with $kafka.tls.serverName -}}{{- $_ := set $tls "server_name_override" . -}}{{- end -}}
{{- $_ := set $receiver "tls" $tls -}}
{{- end -}}
{{- toYaml $receiver -}}
{{- end }}

{{/* The Secrets behind it, as "tempo-stack.otelCollector.doorVolumes" takes them. Parameter: root context. */}}
{{- define "tempo-stack.otelCollector.kafkaSecrets" -}}
{{- $kafka := .Values.otelCollector.receivers.kafka -}}
{{- $secrets := dict -}}
{{- if $kafka.enabled -}}
{{- with $kafka.sasl.existingSecret -}}
{{- $_ := set $secrets "kafka" (dict "secret" . "items" (dict "password" $kafka.sasl.passwordKey)) -}}
{{- end -}}
{{- if $kafka.tls.enabled -}}
{{- with $kafka.tls.caSecret -}}
{{- $_ := set $secrets "kafka-ca" (dict "secret" . "items" (dict "ca.crt" $kafka.tls.caKey)) -}}
{{- end -}}
{{- with $kafka.tls.clientSecret -}}
{{- $_ := set $secrets "kafka-client" (dict "secret" . "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $secrets -}}
{{- end }}
