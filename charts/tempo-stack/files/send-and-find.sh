# Sends one span to the Collector and looks for it in Tempo, by id and by TraceQL.
# Runs in busybox: its sh and its wget, whose own time-out ends some static builds with a fault.
set -u
trace=$(tr -d - </proc/sys/kernel/random/uuid)
span=$(echo "$trace" | cut -c17-32)
name="helm-test-$trace"
now="$(date +%s)000000000"
tenant=${TENANT:+X-Scope-OrgID: $TENANT}
deadline=$(($(date +%s) + TIMEOUT))
said=

# Asks again every second until the answer holds the text, or the time is up.
ask() {
  what=$1
  text=$2
  shift 2
  while :; do
    said=$(timeout 5 wget -q -O - ${tenant:+--header "$tenant"} "$@" 2>&1) && case $said in *"$text"*) return 0 ;; esac
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "FAILED after $TIMEOUT s: $what"
      echo "The last answer: ${said:-none}"
      echo "Look at the pods: $PODS"
      exit 1
    fi
    sleep 1
  done
}

body="{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"helm-test\"}}]},\"scopeSpans\":[{\"spans\":[{\"traceId\":\"$trace\",\"spanId\":\"$span\",\"name\":\"$name\",\"kind\":2,\"startTimeUnixNano\":\"$now\",\"endTimeUnixNano\":\"$now\"}]}]}]}"
ask "the Collector at $COLLECTOR does not take a span." "" \
  --header "Content-Type: application/json" --post-data "$body" "$COLLECTOR/v1/traces"
echo "sent trace $trace to $COLLECTOR"
ask "the Collector took trace $trace, but Tempo at $TEMPO does not have it." "$name" "$TEMPO/api/traces/$trace"
echo "found by id at $TEMPO"
ask "Tempo at $TEMPO has trace $trace, but does not find it by TraceQL." '"traceID"' \
  "$TEMPO/api/search?q=%7Bname%3D%22$name%22%7D"
echo "found by TraceQL"
