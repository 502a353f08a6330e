{{/* Guards of TLS and authentication; _validate.tpl runs them. */}}

{{/* A certificate has one source, and each half of what is needed comes with the other. */}}
{{- define "tempo-stack.validate.doorCertificate" -}}
{{- $tls := .Values.otelCollector.tls -}}
{{- if .Values.otelCollector.enabled -}}
{{- if not $tls.enabled -}}
{{- range $key, $value := dict "existingSecret" $tls.existingSecret "clientCa.existingSecret" $tls.clientCa.existingSecret "certManager.enabled" (ternary "true" "" $tls.certManager.enabled) -}}
{{- if $value }}
otelCollector.tls.{{ $key }} is {{ $value }} while otelCollector.tls.enabled is false: spans would still come in as plain text. Set otelCollector.tls.enabled to true, or leave {{ $key }} out.
{{- end -}}
{{- end -}}
{{- else if and $tls.existingSecret $tls.certManager.enabled }}
otelCollector.tls.existingSecret is {{ $tls.existingSecret }} while otelCollector.tls.certManager.enabled is true: a certificate has one source. Leave existingSecret out, or switch certManager off.
{{- else if not (or $tls.existingSecret $tls.certManager.enabled) }}
otelCollector.tls.existingSecret is empty while otelCollector.tls.enabled is true: there would be no certificate. Set it to a Secret of the type kubernetes.io/tls, or switch otelCollector.tls.certManager on.
{{- else if and $tls.certManager.enabled (not $tls.certManager.issuerRef.name) }}
otelCollector.tls.certManager.issuerRef.name is empty while otelCollector.tls.certManager.enabled is true: cert-manager would not know who issues the certificate. Set it to the name of an Issuer, and issuerRef.kind to ClusterIssuer if it is one.
{{- else -}}
{{- range $key, $value := dict "existingSecretKeys.certificate" $tls.existingSecretKeys.certificate "existingSecretKeys.key" $tls.existingSecretKeys.key "clientCa.existingSecretKey" $tls.clientCa.existingSecretKey -}}
{{- if not $value }}
otelCollector.tls.{{ $key }} is empty while otelCollector.tls.enabled is true: the key of a Secret has a name. Set it, for example to {{ get (dict "existingSecretKeys.certificate" "tls.crt" "existingSecretKeys.key" "tls.key" "clientCa.existingSecretKey" "ca.crt") $key }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What is below TLS 1.2 is broken (RFC 8996). The files count, too, in which otelCollector.config and tempo.config have the last word. */}}
{{- define "tempo-stack.validate.doorVersion" -}}
{{- $wanted := dict -}}
{{- if .Values.otelCollector.enabled -}}
{{- $_ := set $wanted "otelCollector.tls.minVersion" .Values.otelCollector.tls.minVersion -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- $version := dig "tls" "min_version" "" (include "tempo-stack.otelCollector.receiverBlock" (dict "config" $config "row" .) | fromYaml) -}}
{{- if ne (toString $version) $.Values.otelCollector.tls.minVersion -}}
{{- $_ := set $wanted (printf "%s.tls.min_version" (include "tempo-stack.otelCollector.receiverKey" .)) $version -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.tempo.enabled -}}
{{- $_ := set $wanted "tempo.tls.minVersion" .Values.tempo.tls.minVersion -}}
{{- $version := dig "distributor" "receivers" "otlp" "protocols" "grpc" "tls" "min_version" "" (include "tempo-stack.tempo.config" . | fromYaml) -}}
{{- if ne (toString $version) .Values.tempo.tls.minVersion -}}
{{- $_ := set $wanted "tempo.config.distributor.receivers.otlp.protocols.grpc.tls.min_version" $version -}}
{{- end -}}
{{- end -}}
{{- range $key, $version := $wanted -}}
{{- if and $version (not (has (toString $version) (list "1.2" "1.3"))) }}
{{ $key }} is {{ $version }}: versions of TLS before 1.2 are broken (RFC 8996). Set it to "1.2" or "1.3".
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.doorAuth" -}}
{{- $auth := .Values.otelCollector.auth -}}
{{- if .Values.otelCollector.enabled -}}
{{- if not (has $auth.type (list "none" "bearer" "basic" "oidc")) }}
otelCollector.auth.type is {{ $auth.type | quote }}: not a way to authenticate that the chart knows. Set it to none, bearer, basic or oidc.
{{- else if and (has $auth.type (list "bearer" "basic")) (not $auth.existingSecret) }}
otelCollector.auth.existingSecret is empty while otelCollector.auth.type is {{ $auth.type }}: there would be nothing to compare with. Set it to a Secret whose key {{ include "tempo-stack.otelCollector.auth.key" . }} holds {{ ternary "one token a line" "the lines of an htpasswd file" (eq $auth.type "bearer") }}.
{{- else if and (has $auth.type (list "none" "oidc")) $auth.existingSecret }}
otelCollector.auth.existingSecret is {{ $auth.existingSecret }} while otelCollector.auth.type is {{ $auth.type }}: nothing would read it. Set the type to bearer or basic, or leave the Secret out.
{{- else if eq $auth.type "oidc" -}}
{{- range $key := list "issuerUrl" "audience" -}}
{{- if not (get $auth.oidc $key) }}
otelCollector.auth.oidc.{{ $key }} is empty while otelCollector.auth.type is oidc: without it no token can be judged. Set it to the provider's {{ ternary "address" "name for this Collector" (eq $key "issuerUrl") }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Over UDP there is neither TLS nor a credential: such a receiver would be the way around both. */}}
{{- define "tempo-stack.validate.doorUdp" -}}
{{- if and .Values.otelCollector.enabled (include "tempo-stack.otelCollector.guarded" .) -}}
{{- $why := ternary "otelCollector.tls.enabled is true" (printf "otelCollector.auth.type is %s" .Values.otelCollector.auth.type) (not (include "tempo-stack.otelCollector.hasAuth" .)) -}}
{{- range $key := list "jaegerThriftCompact" "jaegerThriftBinary" -}}
{{- if (get $.Values.otelCollector.receivers $key).enabled }}
otelCollector.receivers.{{ $key }}.enabled is true while {{ $why }}: whoever sends over UDP can neither encrypt nor authenticate, and would get in. Switch this receiver off, and have its clients send to jaegerThriftHttp or OTLP.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The distribution "otelcol" has no extension that authenticates. */}}
{{- define "tempo-stack.validate.doorImage" -}}
{{- if and .Values.otelCollector.enabled (or (include "tempo-stack.otelCollector.hasAuth" .) (include "tempo-stack.tenants.ask" .)) -}}
{{- $repository := .Values.otelCollector.image.repository -}}
{{- if regexMatch "(^|/)opentelemetry-collector$" $repository }}
otelCollector.image.repository is {{ $repository }} while {{ if include "tempo-stack.otelCollector.hasAuth" . }}otelCollector.auth.type is {{ .Values.otelCollector.auth.type }}{{ else }}tenants.list has tenants with auth{{ end }}: this distribution has no extension that authenticates, and would not start. Set it to otel/opentelemetry-collector-contrib, or to one of your own that has it.
{{- end -}}
{{- end -}}
{{- end }}

{{/* otelCollector.config is merged last, and could open a receiver again. */}}
{{- define "tempo-stack.validate.doorConfig" -}}
{{- if and .Values.otelCollector.enabled (include "tempo-stack.otelCollector.guarded" .) -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $ports := include "tempo-stack.otelCollector.ports" . | fromYaml -}}
{{- $door := include "tempo-stack.otelCollector.door" . | fromYaml -}}
{{- range include "tempo-stack.otelCollector.receiverList" . | fromYamlArray -}}
{{- $in := . -}}
{{- if and (not .tenant) (hasKey $ports .key) (eq (get $ports .key).protocol "TCP") -}}
{{- $protocol := include "tempo-stack.otelCollector.receiverBlock" (dict "config" $config "row" .) | fromYaml -}}
{{- range $block, $settings := $door -}}
{{- range $name, $value := pick $settings "cert_file" "key_file" "client_ca_file" "authenticator" -}}
{{- if ne (toString (get (get $protocol $block | default dict) $name)) (toString $value) }}
{{ include "tempo-stack.otelCollector.receiverKey" $in }}.{{ $block }}.{{ $name }} is {{ default "removed" (get (get $protocol $block | default dict) $name) }} while otelCollector.{{ ternary "tls.enabled is true" (printf "auth.type is %s" $.Values.otelCollector.auth.type) (eq $block "tls") }}: this receiver would be a way around it. Leave {{ $block }} out of otelCollector.config, or switch off otelCollector.receivers.{{ $in.key }}.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with include "tempo-stack.otelCollector.auth.extensionId" . -}}
{{- if not (has . ($config.service.extensions | default list)) }}
otelCollector.config.service.extensions is {{ toJson $config.service.extensions }}: without {{ . }}, which otelCollector.auth.type asks for, the Collector would not start. Add {{ . }} to the list.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The receiver of Kafka needs a broker, and what stands beside one that is off would have no effect. */}}
{{- define "tempo-stack.validate.kafkaReceiver" -}}
{{- if .Values.otelCollector.enabled -}}
{{- $kafka := .Values.otelCollector.receivers.kafka -}}
{{- $key := "otelCollector.receivers.kafka" -}}
{{- if $kafka.enabled -}}
{{- if not $kafka.brokers }}
{{ $key }}.brokers is empty while {{ $key }}.enabled is true: there would be nobody to ask. Name a broker, such as kafka-bootstrap.kafka.svc:9092, or switch the receiver off.
{{- end -}}
{{- range $kafka.brokers -}}
{{- if not (regexMatch "^[^,\\s/]+:[0-9]+$" .) }}
{{ $key }}.brokers has {{ . }}: a broker is a host and a port. Write it as kafka-bootstrap.kafka.svc:9092, one for each item.
{{- end -}}
{{- end -}}
{{- if hasPrefix "^" $kafka.topic }}
{{ $key }}.topic is {{ $kafka.topic }}: it would be read as a pattern of names. Name one topic.
{{- end -}}
{{- else if $kafka.brokers }}
{{ $key }}.brokers is {{ join ", " $kafka.brokers }} while {{ $key }}.enabled is false: nobody would read there. Switch the receiver on, or leave brokers out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* Half a credential lets nobody in, and one that TLS doesn't use isn't what was meant. */}}
{{- define "tempo-stack.validate.kafkaReceiverKeys" -}}
{{- $kafka := .Values.otelCollector.receivers.kafka -}}
{{- $key := "otelCollector.receivers.kafka" -}}
{{- if and .Values.otelCollector.enabled $kafka.enabled -}}
{{- if and $kafka.sasl.username (not $kafka.sasl.existingSecret) }}
{{ $key }}.sasl.existingSecret is empty while {{ $key }}.sasl.username is {{ $kafka.sasl.username }}: a name without a password is let in nowhere. Set it to a Secret with the password, or leave the name out.
{{- else if and $kafka.sasl.existingSecret (not $kafka.sasl.username) }}
{{ $key }}.sasl.username is empty while {{ $key }}.sasl.existingSecret is {{ $kafka.sasl.existingSecret }}: the Collector would not start. Set the name that the password belongs to, or leave the Secret out.
{{- end -}}
{{- if not (has $kafka.sasl.mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512")) }}
{{ $key }}.sasl.mechanism is {{ $kafka.sasl.mechanism }}: not one that works with a name and a password. Set it to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
{{- end -}}
{{- if not $kafka.tls.enabled -}}
{{- range $name := list "caSecret" "clientSecret" "serverName" -}}
{{- with get $kafka.tls $name }}
{{ $key }}.tls.{{ $name }} is {{ . }} while {{ $key }}.tls.enabled is false: the Collector would talk plain text to Kafka. Set {{ $key }}.tls.enabled to true, or leave {{ $name }} out.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* 0.142 is the first with a list of topics. The distributions "k8s" and "otlp" have no receiver of Kafka. */}}
{{- define "tempo-stack.validate.kafkaReceiverImage" -}}
{{- if and .Values.otelCollector.enabled .Values.otelCollector.receivers.kafka.enabled -}}
{{- $repository := .Values.otelCollector.image.repository -}}
{{- if regexMatch "(^|/)opentelemetry-collector-(k8s|otlp)$" $repository }}
otelCollector.image.repository is {{ $repository }} while otelCollector.receivers.kafka.enabled is true: this distribution has no receiver of Kafka, and would not start. Set it to otel/opentelemetry-collector-contrib, or to one of your own that has it.
{{- end -}}
{{- if include "tempo-stack.otelCollector.is" (dict "ctx" . "constraint" "<0.142.0") }}
otelCollector.receivers.kafka.enabled is true with Collector {{ include "tempo-stack.otelCollector.version" . }}: before 0.142 its receiver is configured in another way. Choose a newer version in otelCollector.image.tag, or switch the receiver off.
{{- end -}}
{{- end -}}
{{- end }}

{{/* A receiver that no pipeline names asks nobody; one that marks records before they are in the queue loses them. */}}
{{- define "tempo-stack.validate.kafkaReceiverPipeline" -}}
{{- if and .Values.otelCollector.enabled .Values.otelCollector.receivers.kafka.enabled -}}
{{- $config := include "tempo-stack.otelCollector.config" . | fromYaml -}}
{{- $named := list -}}
{{- range dig "service" "pipelines" dict $config -}}{{- $named = concat $named ((. | default dict).receivers | default list) -}}{{- end -}}
{{- $receiver := ($config.receivers | default dict).kafka | default dict -}}
{{- if not (has "kafka" $named) }}
otelCollector.receivers.kafka.enabled is true and otelCollector.config.service.pipelines leaves kafka out: nobody would read the topic. Add kafka to the pipeline's receivers, or switch the receiver off.
{{- else if not (dig "message_marking" "after" false $receiver) }}
otelCollector.config.receivers.kafka.message_marking.after is {{ dig "message_marking" "after" "removed" $receiver }}: records would count as read before they are in the queue, and a Collector that is killed would lose them. Leave message_marking out.
{{- end -}}
{{- end -}}
{{- end }}

{{/* TLS between the Collector and Tempo. */}}
{{- define "tempo-stack.validate.tempoTls" -}}
{{- $tls := .Values.tempo.tls -}}
{{- if .Values.tempo.enabled -}}
{{- if and $tls.enabled (not $tls.existingSecret) }}
tempo.tls.existingSecret is empty while tempo.tls.enabled is true: there would be no certificate. Set it to a Secret of the type kubernetes.io/tls, with ca.crt beside the certificate.
{{- else if not $tls.enabled -}}
{{- range $key := list "existingSecret" "clientCaSecret" -}}
{{- with get $tls $key }}
tempo.tls.{{ $key }} is {{ . }} while tempo.tls.enabled is false: spans would still come in as plain text. Set tempo.tls.enabled to true, or leave {{ $key }} out.
{{- end -}}
{{- end -}}
{{- else if and $tls.clientCaSecret .Values.otelCollector.enabled (include "tempo-stack.otelCollector.exportsToOwnTls" .) (not .Values.otelCollector.exporter.tls.clientSecret) }}
otelCollector.exporter.tls.clientSecret is empty while tempo.tls.clientCaSecret is {{ $tls.clientCaSecret }}: Tempo would refuse the Collector. Set it to a Secret of the type kubernetes.io/tls that this CA signed, or leave clientCaSecret out.
{{- else if $tls.enabled -}}
{{- $found := dig "distributor" "receivers" "otlp" "protocols" "grpc" "tls" dict (include "tempo-stack.tempo.config" . | fromYaml) -}}
{{- range $name, $value := pick (include "tempo-stack.tempo.receiverTls" . | fromYaml) "cert_file" "key_file" "client_ca_file" -}}
{{- if ne (toString (get ($found | default dict) $name)) $value }}
tempo.config.distributor.receivers.otlp.protocols.grpc.tls.{{ $name }} is {{ default "removed" (get ($found | default dict) $name) }} while tempo.tls.enabled is true: the receiver would be a way around it. Leave tls out of tempo.config.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tempo-stack.validate.exporterTls" -}}
{{- if and .Values.otelCollector.enabled (include "tempo-stack.otelCollector.exporterIsPlain" .) -}}
{{- range $key, $value := omit .Values.otelCollector.exporter.tls "caKey" -}}
{{- if $value }}
otelCollector.exporter.tls.{{ $key }} is {{ $value }} while otelCollector.exporter.insecure is true: the Collector would talk plain text. Set otelCollector.exporter.insecure to false, or tempo.tls.enabled to true for this release's Tempo.
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
