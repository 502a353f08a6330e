# Stops a Tempo whose predecessor left traces in a log that it would never read.
# Tempo 2.x and 3.x keep their write-ahead logs in different folders, and neither reads the other's; over Kafka 3.x
# reads neither, for what its live-stores read of Kafka they never write to the store.
# OTHER_LOGS are the folders, ENGINE what is about to run, ACCEPT "true" if the loss is accepted.
set -eu
left=0
where=
for log in $OTHER_LOGS; do
  before=$left
  for meta in "$log"/*/meta.json "$log"/blocks/*/*/meta.json; do
    # A block with this file is in the store already.
    if [ -e "$meta" ] && [ ! -e "${meta%/*}/flushed" ]; then left=$((left + 1)); fi
  done
  if [ "$left" -gt "$before" ]; then where="${where:+$where and }$log"; fi
done
if [ "$left" -eq 0 ]; then exit 0; fi
if [ "$ACCEPT" = true ]; then
  echo "$left blocks in $where are left behind: tempo.acceptWalLoss is true"
  exit 0
fi
echo "Error: $left blocks in $where hold traces that Tempo $ENGINE never reads: starting it would lose them." \
  "Go back to the Tempo that wrote them, let it write them to the store ($FLUSH), and upgrade again;" \
  "or set tempo.acceptWalLoss: true." | tee /dev/termination-log
exit 1
