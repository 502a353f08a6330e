{{/*
The guarded door to queries: an nginx in front of Tempo's HTTP port that asks who is there, and lets through what reads.
*/}}

{{- define "tempo-stack.queryProxy.fullname" -}}
{{- include "tempo-stack.fullname" . }}-query-proxy
{{- end }}
{{- define "tempo-stack.queryProxy.serviceName" -}}
{{- default (include "tempo-stack.queryProxy.fullname" .) .Values.queryProxy.service.name -}}
{{- end }}

{{/* Where it is reached inside the cluster. Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.url" -}}
{{- $proxy := .Values.queryProxy -}}
{{ ternary "https" "http" $proxy.tls.enabled }}://{{ include "tempo-stack.host" (dict "ctx" . "service" (include "tempo-stack.queryProxy.serviceName" .)) }}:{{ int $proxy.service.port }}
{{- end }}

{{- define "tempo-stack.queryProxy.version" -}}
{{- include "tempo-stack.version" (dict "tag" .Values.queryProxy.image.tag) -}}
{{- end }}

{{/* "true" when nginx takes HTTP/1 and HTTP/2 at one plain port (nginx, CHANGES of 1.25.1). Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.mixes" -}}
{{- if semverCompare ">=1.25.1" (default "1.25.1" (include "tempo-stack.queryProxy.version" .)) -}}true{{- end -}}
{{- end }}

{{/* Its ports, as maps by values key. Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.ports" -}}
http: {name: http, port: {{ int .Values.queryProxy.service.port }}, protocol: TCP, appProtocol: {{ ternary "https" "http" .Values.queryProxy.tls.enabled }}}
{{- end }}

{{/*
What reads, of Tempo's API over HTTP, and nothing else: paths, and what follows a path as a regular expression.
It is the same from 2.3 to 3.0 (grafana/tempo, docs/sources/tempo/api_docs/_index.md, "Endpoints", and pkg/api/http.go);
a Tempo that lacks one answers 404. Left out is /api/mcp, which takes POST.
*/}}
{{- define "tempo-stack.tempo.readPaths" -}}
- {path: /api/traces, rest: "/[0-9a-fA-F]+"}
- {path: /api/v2/traces, rest: "/[0-9a-fA-F]+"}
- {path: /api/search}
- {path: /api/search/tags}
- {path: /api/v2/search/tags}
- {path: /api/search/tag, rest: "/[^/?]+/values"}
- {path: /api/v2/search/tag, rest: "/[^/?]+/values"}
- {path: /api/metrics/query}
- {path: /api/metrics/query_range}
- {path: /api/echo}
- {path: /api/status/buildinfo}
{{- end }}

{{/* The service of gRPC by which Tempo streams the answers to queries, at its HTTP port (grafana/tempo, pkg/tempopb/tempo.proto). */}}
{{- define "tempo-stack.tempo.streamingService" -}}tempopb.StreamingQuerier{{- end }}

{{/* Seconds that an answer to a query may take: Tempo gives up by itself before. Parameter: root context. */}}
{{- define "tempo-stack.tempo.querySeconds" -}}
{{- add 5 (default 60 (include "tempo-stack.duration.seconds" .Values.tempo.query.timeout)) -}}
{{- end }}

{{/*
The tenant of each user, as a map for nginx; "default" is for all others. A plain name of such a map matches in any case, so users are patterns.
Parameter: root context.
*/}}
{{- define "tempo-stack.queryProxy.tenants" -}}
{{- if include "tempo-stack.tenants.named" . -}}
{{- $tenants := dict "default" "" -}}
{{- range $user, $tenant := .Values.queryProxy.tenants -}}{{- $_ := set $tenants (printf "~^%s$" (regexQuoteMeta $user)) $tenant -}}{{- end -}}
{{- toYaml $tenants -}}
{{- else -}}
default: {{ include "tempo-stack.tenant" . | quote }}
{{- end -}}
{{- end }}

{{/*
nginx's configuration. Paths are compared as the client wrote them, so that what is compared is what Tempo gets.
A header that is set to nothing isn't passed on: neither the credentials nor a tenant of the client's choice.
The certificate's path is a variable, so that nginx reads the file at each handshake; the users it reads at each request.
Parameter: root context.
*/}}
{{- define "tempo-stack.queryProxy.config" -}}
{{- $proxy := .Values.queryProxy -}}
{{- $tempo := printf "%s:%d" (include "tempo-stack.tempo.host" .) (int .Values.tempo.service.ports.http) -}}
{{- $service := include "tempo-stack.tempo.streamingService" . -}}
{{- $seconds := include "tempo-stack.tempo.querySeconds" . -}}
{{- $mixes := include "tempo-stack.queryProxy.mixes" . -}}
daemon off;
worker_processes 2;
pid /run/query-proxy/nginx.pid;
error_log stderr warn;

events {
  worker_connections 1024;
}

http {
  server_tokens off;
  access_log /dev/stdout;
  client_body_temp_path /run/query-proxy/client-body;
  proxy_temp_path /run/query-proxy/proxy;
  fastcgi_temp_path /run/query-proxy/fastcgi;
  scgi_temp_path /run/query-proxy/scgi;
  uwsgi_temp_path /run/query-proxy/uwsgi;

  map $request_uri $reads {
    default "";
    {{- range include "tempo-stack.tempo.readPaths" . | fromYamlArray }}
    "~^{{ .path }}{{ .rest }}(\?|$)" http;
    {{- end }}
    "~^/{{ replace "." "\\." $service }}/[A-Za-z0-9]+$" grpc;
  }

  map $remote_user $tenant {
    {{- range $user, $tenant := include "tempo-stack.queryProxy.tenants" . | fromYaml }}
    {{ $user | quote }} {{ $tenant | quote }};
    {{- end }}
  }
  {{- if $proxy.tls.enabled }}

  map $server_port $certificate {
    default "/etc/query-proxy/tls";
  }
  {{- end }}

  server {
    listen {{ include "tempo-stack.listener" (dict "address" $proxy.listenAddress "port" $proxy.service.port) }}{{ if $proxy.tls.enabled }} ssl{{ end }}{{ if not $mixes }} http2{{ end }};
    {{- if $mixes }}
    http2 on;
    {{- end }}
    {{- if $proxy.tls.enabled }}
    ssl_certificate $certificate/tls.crt;
    ssl_certificate_key $certificate/tls.key;
    ssl_protocols {{ ternary "TLSv1.2 TLSv1.3" "TLSv1.3" (eq (toString $proxy.tls.minVersion) "1.2") }};
    {{- end }}
    auth_basic Tempo;
    auth_basic_user_file /etc/query-proxy/auth/htpasswd;

    location / {
      if ($reads != http) {
        return 404;
      }
      limit_except GET {
        deny all;
      }
      proxy_pass http://{{ $tempo }};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "";
      proxy_set_header X-Scope-OrgID $tenant;
      proxy_read_timeout {{ $seconds }}s;
      proxy_max_temp_file_size 0;
    }

    # A client of gRPC wants a status of its own: 16 is UNAUTHENTICATED.
    location @unauthenticated {
      default_type application/grpc;
      add_header grpc-status 16;
      add_header grpc-message "user or password is missing or wrong";
      return 204;
    }

    location /{{ $service }}/ {
      error_page 401 = @unauthenticated;
      if ($reads != grpc) {
        return 404;
      }
      grpc_pass grpc://{{ $tempo }};
      grpc_set_header Authorization "";
      grpc_set_header X-Scope-OrgID $tenant;
      grpc_read_timeout {{ $seconds }}s;
    }
  }

  server {
    listen {{ include "tempo-stack.listener" (dict "address" $proxy.listenAddress "port" $proxy.healthPort) }};
    access_log off;
    location = /healthz {
      return 204;
    }
    location / {
      return 404;
    }
  }
}
{{- end }}

{{/* The volumes with its users and its certificate, as a map of folder to volume. Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.volumes" -}}
{{- with .Values.queryProxy -}}
auth:
  {{- include "tempo-stack.secretVolume" (dict "name" "auth" "secret" .auth.existingSecret "items" (dict "htpasswd" .auth.existingSecretKey)) | nindent 2 }}
{{- if .tls.enabled }}
tls:
  {{- include "tempo-stack.secretVolume" (dict "name" "tls" "secret" .tls.existingSecret "items" (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod's settings, as "tempo-stack.podSettings" takes them: scheduled and secured as Tempo is, under the namespace's own account. Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.settings" -}}
{{- $settings := include "tempo-stack.test.settings" . | fromYaml -}}
{{- $_ := set $settings "terminationGracePeriodSeconds" 30 -}}
{{- range $key := list "affinity" "podAnnotations" "podLabels" "topologySpreadConstraints" -}}
{{- $_ := set $settings $key (get $.Values.queryProxy $key) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end }}

{{/* Affinity of its pods where the values give none: they prefer different hosts. Parameter: root context. */}}
{{- define "tempo-stack.queryProxy.affinity" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "tempo-stack.selectorLabels" (dict "ctx" . "component" "query-proxy") | nindent 12 }}
{{- end }}

{{/* What is said of the door; nothing where there is none. Parameter: root context. */}}
{{- define "tempo-stack.notes.queryProxy" -}}
{{- if .Values.queryProxy.enabled -}}
Readers come in at {{ include "tempo-stack.queryProxy.url" . }}, with a user and a password of the Secret {{ .Values.queryProxy.auth.existingSecret }}; paths that don't read are closed there.
Who reaches {{ include "tempo-stack.tempo.queryUrl" . }} still needs neither.
{{- if not .Values.queryProxy.tls.enabled }}
Passwords and traces travel as plain text: queryProxy.tls.enabled is false.
{{- end }}
{{- end -}}
{{- end }}
