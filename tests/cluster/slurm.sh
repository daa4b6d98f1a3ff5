#!/usr/bin/env bash
# Submits a suite in three parts to a real Slurm on this machine, kills one part in the middle, and compares the results
# byte by byte with a plain run; then cancels a whole array and submits it again.
# usage: PROGRAM=target/release/autointerp [REFERENCE=DIR] tests/cluster/slurm.sh [SUITE]
# REFERENCE is a finished plain run of the suite; without it, one is made. Where Slurm cannot be started (no root, no apt),
# it says why and succeeds. Ends only what it started, and leaves nothing behind.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "${PROGRAM:-$root/target/release/autointerp}")
suite=$(realpath "${1:-$root/suites/smoke.yaml}")
node="$root/tests/cluster/slurm_node.sh"
work=$(mktemp -d)

finish() {
  # A job that is left would write into the folder while it is removed.
  if [ -n "${SLURM_CONF:-}" ]; then scancel --user="$(id -un)" 2> /dev/null || true; sleep 0.5; fi
  "$node" stop "$work/slurm" || true
  rm -rf "$work"
}
trap finish EXIT

said=0
"$node" start "$work/slurm" 2> "$work/why" || said=$?
if [ "$said" = 3 ]; then
  echo "skipped: $(cat "$work/why")"
  exit 0
elif [ "$said" != 0 ]; then
  cat "$work/why" >&2
  exit 1
fi
export SLURM_CONF="$work/slurm/slurm.conf"

reference=${REFERENCE:-}
if [ -z "$reference" ]; then
  reference="$work/plain"
  "$program" run "$suite" --out "$reference" --offline --quiet > "$work/plain.log"
fi
reference=$(realpath "$reference")

# A folder whose name a shell, Slurm or both could read otherwise.
mkdir "$work/a b \$c 100%"
cd "$work/a b \$c 100%"
cat > cluster.yaml << C
cpus: 1
memory_gib: 1
environment: {AUTOINTERP_CACHE: "$work/cache"}
before:
  - echo "part \${SLURM_ARRAY_TASK_ID:-none} of job \$SLURM_JOB_ID"
slurm: {partition: debug}
C

# Sets `parts` and `summary` to the ids of the jobs.
submit() {
  "$program" submit "$suite" --engine slurm --parts 3 --out "$1" --offline > submitted.txt
  cat submitted.txt
  parts=$(sed -n 's/^submitted: 3 parts as job \([0-9]*\), the summary as job [0-9]*$/\1/p' submitted.txt)
  summary=$(sed -n 's/^submitted: 3 parts as job [0-9]*, the summary as job \([0-9]*\)$/\1/p' submitted.txt)
  [ -n "$parts" ] && [ -n "$summary" ]
}

# Waits, up to two minutes, until a command succeeds.
await() {
  for _ in $(seq 600); do
    if "$@"; then return; fi
    sleep 0.2
  done
  echo "waited in vain for: $*" >&2
  squeue >&2
  tail -n 20 -- */jobs/*.log >&2
  return 1
}

state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p' | head -1; }
has_state() { [ "$(state_of "$1")" = "$2" ]; }
has_ended() { [ -z "$(squeue -h -j "$1" 2> /dev/null)" ]; }
# The program itself has said something, behind the line of `before`.
has_begun() { [ "$({ wc -l < "$1"; } 2> /dev/null || echo 0)" -ge 2 ]; }

same_as_plain() {
  await has_ended "$summary"
  has_state "$summary" COMPLETED || { tail -n 20 "$1"/jobs/*.log >&2; return 1; }
  cmp "$reference/summary.json" "$1/summary.json"
  cmp "$reference/scores.jsonl" "$1/scores.jsonl"
}

echo "-- three parts, the second killed in the middle"
submit killed
await has_begun killed/jobs/part-2.log
scancel --signal=KILL --full "${parts}_2"
same_as_plain killed
case $(state_of "${parts}_2") in
  COMPLETED) echo "the second part ended before it could be killed" >&2; exit 1 ;;
  *) echo "the second part: $(state_of "${parts}_2"); the summary is that of a plain run" ;;
esac

echo "-- the whole array cancelled, and submitted again"
submit cancelled
await has_begun cancelled/jobs/part-1.log
scancel "$parts" "$summary"
await has_ended "$parts,$summary"
[ ! -e cancelled/summary.json ]
submit cancelled
same_as_plain cancelled
echo "the summary is that of a plain run"
