# Says whether this mirror is settled: whether it has what the other one has, so that queries may lead to it.
# MIRRORS are both Tempos, EXPORTERS the exporters that send to them (those of several tenants with commas between), in the order
# of their pods' ordinals.
# COLLECTORS are the metrics of all Collectors; those that don't answer don't count.
# RUN/settled is there while this mirror is settled.
set -eu
# Looks, two seconds apart, in which it must not be behind until it is settled, and be behind until it isn't any more.
# A batch that failed is sent again within 7.5 seconds, and answered within 6.6.
calm=8
late=3
trap 'exit 0' TERM INT

# Of "a b": the one at this pod's ordinal, then the other.
pick() {
  if [ "${POD_NAME##*-}" = 0 ]; then echo "$1 $2"; else echo "$2 $1"; fi
}
# shellcheck disable=SC2086
set -- $(pick $EXPORTERS) $(pick $MIRRORS)
own=$1 other=$2 peer=$4

ask() {
  timeout 2 wget -q -O - "http://$1"
}

# The lines "<collector> <own or other> <bytes that wait> <spans that were sent>" of a Collector; none if it doesn't answer.
queues() {
  ask "$1/metrics" 2>/dev/null | awk -v name="$1" -v own=",$own," -v other=",$other," '
    function mirror(  id) {
      if (!match($0, /exporter="[^"]*"/)) return ""
      id = "," substr($0, RSTART + 10, RLENGTH - 11) ","
      return index(own, id) ? "own" : index(other, id) ? "other" : ""
    }
    /^otelcol_exporter_queue_size[{]/ { waits[mirror()] += $NF }
    /^otelcol_exporter_sent_spans[{]/ { sent[mirror()] += $NF }
    END { if ("own" in waits && "other" in waits) for (m in waits) if (m != "") print name, m, waits[m], sent[m] + 0 }'
}

# From the lines of the last look, with the time at which each queue last moved, to a verdict:
# behind   more waits for this mirror than for the other, or nothing of it gets through
# even     no more waits for this mirror
# close    what waits beyond that is a matter of seconds
# unknown  no Collector answers
judge() {
  awk -v now="$1" -v seen="$RUN/seen" '
    FILENAME == seen { before[$1, $2] = $4; since[$1, $2] = $5; next }
    {
      answers = 1
      # A queue that is empty, or of which something was sent, moves.
      moved = $3 == 0 || (($1, $2) in before && $4 != before[$1, $2]) ? now : since[$1, $2] + 0
      waits[$2] += $3
      if ($3 > 0 && now - moved > 9) stuck[$2] = 1
      print $1, $2, $3, $4, moved > (seen ".next")
    }
    END {
      # Never both of them, or none would answer.
      more = waits["own"] > 1.5 * waits["other"] + 65536
      less = waits["other"] > 1.5 * waits["own"] + 65536
      behind = more || (stuck["own"] && !stuck["other"] && !less)
      print !answers ? "unknown" : behind ? "behind" : waits["own"] <= waits["other"] ? "even" : "close"
    }' "$RUN/seen" "$RUN/look"
}

: >"$RUN/seen"
well=0
ill=0
said=
while :; do
  rm -f "$RUN"/look "$RUN"/answer.*
  asked=
  n=0
  for collector in $COLLECTORS; do
    n=$((n + 1))
    queues "$collector" >"$RUN/answer.$n" &
    asked="$asked $!"
  done
  with=there
  # One Tempo that is yet to become a mirror acknowledges at once, so that less waits for it; no Service leads to it.
  { ask "$peer/ready" && ask "$peer/status/config" | grep 'artificial_delay: [1-9]'; } >/dev/null 2>&1 || with=away
  # shellcheck disable=SC2086
  wait $asked || true
  cat "$RUN"/answer.* >"$RUN/look"
  verdict=$(judge "$(date +%s)")
  if [ -e "$RUN/seen.next" ]; then mv "$RUN/seen.next" "$RUN/seen"; fi
  # Rather an answer with what is there than none.
  if [ "$verdict" = behind ] && [ "$with" = away ]; then verdict=alone; fi
  case $verdict in
  behind) ill=$((ill + 1)) well=0 ;;
  even) ill=0 well=$calm ;;
  # Two looks: one may have failed.
  alone) ill=0 well=$((well + calm / 2)) ;;
  *) ill=0 well=$((well + 1)) ;;
  esac
  if [ "$well" -ge "$calm" ]; then
    : >"$RUN/settled"
  elif [ "$ill" -ge "$late" ]; then
    rm -f "$RUN/settled"
  fi
  state=unsettled
  if [ -e "$RUN/settled" ]; then state=settled; fi
  if [ "$state" != "$said" ]; then
    echo "$state ($verdict): $(awk '{ printf "%s%s of %s: %s bytes", (NR > 1 ? ", " : ""), $2, $1, $3 }' "$RUN/look")"
    said=$state
  fi
  # A signal ends this wait, but not a sleep.
  sleep 2 &
  wait $!
done
