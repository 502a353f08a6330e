# Has Tempo refuse spans while its volume is nearly full, and tells how full it is.
# On a full volume Tempo loses what it acknowledges; what it refuses waits in the Collector's queue.
# DATA is the volume. Below RESERVE KiB of room spans are refused, above one and a half times of it they are taken.
# LIMIT is what an emptyDir may hold, in KiB; empty for a claim.
# CONFIG has the two files of which RUN/overrides.yaml, which Tempo reads every two seconds, is a copy.
set -eu
server=
trap 'test -z "$server" || kill "$server"; exit 0' TERM INT
mkdir -p "$RUN/www"
# Only a machine that runs the chart without its image lacks it.
if command -v busybox >/dev/null; then
  busybox httpd -f -p "$LISTEN" -h "$RUN/www" &
  server=$!
fi
state=none
while test -z "$server" || kill -0 "$server"; do
  set -- $(df -Pk "$DATA" | tail -n 1)
  size=$2
  free=$4
  if [ -n "$LIMIT" ]; then
    # Files may go while they are counted.
    used=$(du -sk "$DATA" 2>/dev/null | cut -f 1)
    size=$LIMIT
    if [ $((LIMIT - used)) -lt "$free" ]; then free=$((LIMIT - used)); fi
  fi
  next=$state
  if [ "$free" -lt "$RESERVE" ]; then
    next=closed
  elif [ "$state" = none ] || [ "$free" -gt $((RESERVE * 3 / 2)) ]; then
    next=open
  fi
  if [ "$next" != "$state" ]; then
    cp "$CONFIG/ingest-$next.yaml" "$RUN/next"
    mv "$RUN/next" "$RUN/overrides.yaml"
    state=$next
    echo "$free KiB of $size are free, the reserve is $RESERVE: $state for spans"
  fi
  refused=0
  if [ "$state" = closed ]; then refused=1; fi
  cat >"$RUN/www/next" <<EOF
# HELP tempo_volume_size_bytes Size of the volume of Tempo.
# TYPE tempo_volume_size_bytes gauge
tempo_volume_size_bytes $((size * 1024))
# HELP tempo_volume_free_bytes Room on the volume of Tempo.
# TYPE tempo_volume_free_bytes gauge
tempo_volume_free_bytes $((free * 1024))
# HELP tempo_volume_reserve_bytes Room below which Tempo refuses spans.
# TYPE tempo_volume_reserve_bytes gauge
tempo_volume_reserve_bytes $((RESERVE * 1024))
# HELP tempo_volume_refusing Whether Tempo refuses spans because there is less room than the reserve.
# TYPE tempo_volume_refusing gauge
tempo_volume_refusing $refused
EOF
  mv "$RUN/www/next" "$RUN/www/metrics.txt"
  # A signal ends this wait, but not a sleep.
  sleep 2 &
  wait $!
done
