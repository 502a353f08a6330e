# Stops a Tempo whose predecessor left traces in a log that it would never read.
# Tempo 2.x and 3.x keep their write-ahead logs in different folders, and neither reads the other's.
# OTHER_LOG is the log of the other engine, ENGINE what is about to run, ACCEPT "true" if the loss is accepted.
set -eu
left=0
for meta in "$OTHER_LOG"/*/meta.json "$OTHER_LOG"/blocks/*/*/meta.json; do
  # A block with this file is in the store already.
  if [ -e "$meta" ] && [ ! -e "${meta%/*}/flushed" ]; then left=$((left + 1)); fi
done
if [ "$left" -eq 0 ]; then exit 0; fi
if [ "$ACCEPT" = true ]; then
  echo "$left blocks in $OTHER_LOG are left behind: tempo.acceptWalLoss is true"
  exit 0
fi
echo "Error: $left blocks in $OTHER_LOG hold traces that Tempo $ENGINE never reads: starting it would lose them." \
  "Go back to the version that wrote them, let it write them to the store ($FLUSH), and upgrade again;" \
  "or set tempo.acceptWalLoss: true." | tee /dev/termination-log
exit 1
