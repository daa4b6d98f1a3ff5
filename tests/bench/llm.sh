#!/usr/bin/env bash
# Simulator calls of a run through several endpoints, against what these allow.
#   tests/bench/llm.sh [CALLS]        CALLS: about so many simulator calls, 45000 if left out
# Environment: AUTOINTERP=FILE (default target/release/autointerp), ENDPOINTS, SLOTS, LATENCY (seconds), SPREAD,
# THREADS (of the program), IN_FLIGHT (default: slots of all endpoints and a quarter more).
# Prints the server's counts as JSON, the run's time and its peak memory. Needs python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
calls=${1:-45000}
program=${AUTOINTERP:-target/release/autointerp}
endpoints=${ENDPOINTS:-4} slots=${SLOTS:-32} latency=${LATENCY:-0.25} spread=${SPREAD:-0.5}
in_flight=${IN_FLIGHT:-$((endpoints * slots * 5 / 4))}
# Three methods at four hook points, and 30 fragments of each feature.
per_cell=$(((calls + 359) / 360))
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

python3 tests/bench/llm_server.py --endpoints "$endpoints" --slots "$slots" --latency "$latency" --spread "$spread" \
    >"$work/server" &
server=$!
until [ -s "$work/server" ]; do sleep 0.1; done
urls=$(head -n 1 "$work/server")

cat >"$work/suite.yaml" <<YAML
name: llm-throughput
seed: 7
subject: {model: embedded}
corpus: {source: embedded, fit_tokens: 60_000, ctx_tokens: 128, eval_fragments: 1_500}
hooks: [blocks.*.hook_resid_post]
methods:
  - {name: random, kind: random}
  - {name: neuron, kind: neuron}
  - {name: identity, kind: identity}
features: {per_cell: $per_cell}
explainer:
  kind: token_activation
  llm: {client: openai, model: scripted, base_url: $urls, max_in_flight: $in_flight}
simulator: {kind: generated}
scorers: [top_and_random]
controls: []
quality: off
statistics: {reference: random, resamples: 100, permutations: 100}
YAML
python3 - "$program" "$work" "${THREADS:-}" <<'PY'
import os
import resource
import subprocess
import sys
import time

program, work, threads = sys.argv[1:]
command = [program, "run", f"{work}/suite.yaml", "--out", f"{work}/out", "--quiet"]
command += ["--threads", threads] if threads else []
began = time.monotonic()
code = subprocess.run(command, env=os.environ | {"AUTOINTERP_CACHE": f"{work}/cache"}, stdout=subprocess.DEVNULL).returncode
taken = resource.getrusage(resource.RUSAGE_CHILDREN)
processor, peak = taken.ru_utime + taken.ru_stime, taken.ru_maxrss / 1024
print(f"exit code {code}; {time.monotonic() - began:.1f} s, {processor:.1f} s of processor time, peak memory {peak:.0f} MB")
PY
kill -TERM "$server"
wait "$server" || true
server=
tail -n 1 "$work/server"
