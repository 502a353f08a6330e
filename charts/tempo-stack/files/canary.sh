# Runs the test, which is the first argument, every PERIOD seconds, and tells how it went.
# A test that takes longer than that is followed by the next one at once; two never run at the same time.
set -u
child=
trap 'kill $child $server; exit 0' TERM INT
# Without LISTEN another container shows the metrics.
server=
if [ -n "${LISTEN:-}" ]; then
  busybox httpd -f -p "$LISTEN" -h "$RUN" &
  server=$!
fi
attempts=0
failures=0
# Until the first success, the start counts: an alert on its age waits as long as after any other.
last=$(date +%s)
duration=

# Time since the machine's start in hundredths of a second; date has whole seconds only.
now() {
  read -r up _ </proc/uptime
  echo "${up%.*}${up#*.}"
}

tell() {
  cat >"$RUN/next" <<EOF
# HELP tempo_canary_attempts_total Spans that were sent in order to be found.
# TYPE tempo_canary_attempts_total counter
tempo_canary_attempts_total $attempts
# HELP tempo_canary_failures_total Spans that were not taken, or not found in time.
# TYPE tempo_canary_failures_total counter
tempo_canary_failures_total $failures
# HELP tempo_canary_last_success_timestamp_seconds When a span was found last; the start of the canary before the first one.
# TYPE tempo_canary_last_success_timestamp_seconds gauge
tempo_canary_last_success_timestamp_seconds $last
${duration:+# HELP tempo_canary_duration_seconds Time from sending the last span that was found until it was found, by its id and by TraceQL.
# TYPE tempo_canary_duration_seconds gauge
tempo_canary_duration_seconds $duration}
EOF
  mv "$RUN/next" "$RUN/metrics.txt"
}

tell
while kill -0 "${server:-$$}"; do
  began=$(now)
  sh -c "$1" &
  child=$!
  # A signal ends this wait, but not a program in the foreground.
  if wait $child; then
    took=$(($(now) - began))
    duration=$((took / 100)).$(printf %02d $((took % 100)))
    last=$(date +%s)
  else
    failures=$((failures + 1))
  fi
  attempts=$((attempts + 1))
  tell
  rest=$((PERIOD - ($(now) - began) / 100))
  if [ "$rest" -gt 0 ]; then
    sleep "$rest" &
    child=$!
    wait $child
  fi
done
