{{/*
The room on Tempo's volume: a container beside Tempo that has it refuse spans before the volume is full.
It works through Tempo's own overrides file, which Tempo reads again while it runs, so connections that are open are refused, too.
*/}}

{{/*
"true" when the container is there. In a fleet the distributors refuse, on whose pods there is no volume to look at.
Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.guardsDisk" -}}
{{- if and .Values.tempo.enabled .Values.tempo.disk.guard.enabled (not (include "tempo-stack.tempo.isFleet" .)) -}}true{{- end -}}
{{- end }}

{{/* Folder that the container shares with Tempo. */}}
{{- define "tempo-stack.tempo.disk.path" -}}/run/tempo{{- end }}

{{/*
Bytes that come in at the most from the reserve to the first refusal: two seconds until the container looks, two until
Tempo reads the file, ten until its rate limiter looks at its limit. Parameter: root context.
*/}}
{{- define "tempo-stack.tempo.disk.late" -}}
{{- mul 14 (include "tempo-stack.tempo.limits" . | fromYaml).ingestBytesPerSecond -}}
{{- end }}

{{/* Room below which spans are refused, in bytes. Parameter: root context. */}}
{{- define "tempo-stack.tempo.disk.reserve" -}}
{{- $tempo := .Values.tempo -}}
{{- if $tempo.disk.guard.reserve -}}
{{- include "tempo-stack.quantity.bytes" $tempo.disk.guard.reserve -}}
{{- else -}}
{{- $size := include "tempo-stack.quantity.bytes" $tempo.persistence.size | int64 -}}
{{- max (div $size 10) (include "tempo-stack.tempo.disk.late" . | int64) -}}
{{- end -}}
{{- end }}

{{/*
Bytes that spans take on the volume when the oldest of them go, without the reserve.
A block stays for an hour after its successor was written, and the log of up to half an hour beside its block
for a quarter: two hours of spans are there twice. Parameters: ctx, rate (spans per second).
*/}}
{{- define "tempo-stack.tempo.disk.needs" -}}
{{- $tempo := .ctx.Values.tempo -}}
{{- $seconds := include "tempo-stack.tempo.longestRetention" .ctx | int64 | add 7200 -}}
{{- mul .rate $tempo.disk.bytesPerSpan $seconds -}}
{{- end }}

{{/* How long spans find room on the volume, as text such as "2 days". Parameters: ctx, rate (spans per second). */}}
{{- define "tempo-stack.tempo.disk.lasts" -}}
{{- $tempo := .ctx.Values.tempo -}}
{{- $room := sub (include "tempo-stack.quantity.bytes" $tempo.persistence.size | int64) (include "tempo-stack.tempo.disk.reserve" .ctx | int64) -}}
{{- $hours := div $room (mul .rate $tempo.disk.bytesPerSpan 3600) -}}
{{- if gt $hours 96 }}{{ div $hours 24 }} days{{ else if gt $hours 2 }}{{ $hours }} hours{{ else }}{{ div $room (mul .rate $tempo.disk.bytesPerSpan 60) }} minutes{{ end -}}
{{- end }}

{{/* The overrides file while spans are refused. Parameter: root context. */}}
{{- define "tempo-stack.tempo.disk.closed" -}}
{{- $closed := dict "ingestion" (dict "rate_limit_bytes" 1 "burst_size_bytes" 1) -}}
{{- $limits := include "tempo-stack.tempo.overrides" . | fromYaml -}}
{{- include "tempo-stack.config.merge" (dict "into" $limits "from" $closed) -}}
{{- $all := include "tempo-stack.tempo.tenantOverrides" (dict "ctx" . "over" $closed) | fromYaml -}}
{{- $_ := set $all "*" $limits -}}
{{- dict "overrides" $all | toYaml -}}
{{- end }}

{{/* The overrides file while spans are taken. Parameter: root context. */}}
{{- define "tempo-stack.tempo.disk.open" -}}
{{- dict "overrides" (include "tempo-stack.tempo.tenantOverrides" (dict "ctx" . "over" dict) | fromYaml) | toYaml -}}
{{- end }}

{{/* The container: it starts before Tempo, which needs the overrides file, and ends after it. Parameter: root context. */}}
{{- define "tempo-stack.tempo.diskGuard" -}}
{{- $tempo := .Values.tempo -}}
{{- $run := include "tempo-stack.tempo.disk.path" . -}}
{{- $data := include "tempo-stack.tempo.dataPath" . -}}
{{- $limit := ternary "" (include "tempo-stack.quantity.bytes" $tempo.persistence.size) $tempo.persistence.enabled -}}
{{- $scripts := ternary (list "link-overrides.sh" "guard-disk.sh") (list "guard-disk.sh") (ne "" (include "tempo-stack.tenants.named" .)) -}}
- {{ include "tempo-stack.tempo.shellContainer" (dict "ctx" . "name" "disk-guard" "scripts" $scripts) | nindent 2 | trim }}
  restartPolicy: Always
  env:
    - name: DATA
      value: {{ $data }}
    - name: RUN
      value: {{ $run }}
    - name: CONFIG
      value: /etc/tempo
    - name: RESERVE
      value: {{ div (include "tempo-stack.tempo.disk.reserve" . | int64) 1024 | quote }}
    - name: LIMIT
      value: {{ with $limit }}{{ div (int64 .) 1024 | quote }}{{ else }}""{{ end }}
    - name: LISTEN
      value: {{ include "tempo-stack.listener" (dict "address" $tempo.listenAddress "port" $tempo.service.ports.diskMetrics) | quote }}
  ports:
    {{- include "tempo-stack.containerPorts" (include "tempo-stack.tempo.diskPorts" . | fromYaml) | nindent 4 }}
  startupProbe:
    exec:
      command: [test, -e, {{ $run }}/overrides.yaml]
    periodSeconds: 1
    failureThreshold: 60
  volumeMounts:
    - name: config
      mountPath: /etc/tempo
      readOnly: true
    - name: ingest
      mountPath: {{ $run }}
    - name: data
      mountPath: {{ $data }}
      readOnly: true
{{- end }}
