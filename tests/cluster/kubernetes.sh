#!/usr/bin/env bash
# Validates the manifests of `submit --engine kubernetes` against the published schema, runs the command lines of two
# indices and of the summary as processes, and compares the results with a plain run, byte by byte.
# usage: PROGRAM=target/release/autointerp [REFERENCE=DIR] tests/cluster/kubernetes.sh [SUITE]
# REFERENCE is a finished plain run of the suite; without it, one is made. Without Python or a package index that has
# `kubernetes-validate` (the schemas of Kubernetes), it says so and succeeds. No cluster is needed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "${PROGRAM:-$root/target/release/autointerp}")
suite=$(realpath "${1:-$root/suites/smoke.yaml}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python=$(command -v python3 || true)
if [ -z "$python" ]; then
  echo "skipped: no Python"
  exit 0
fi
if ! { "$python" -m venv "$work/venv" && "$work/venv/bin/pip" install -q kubernetes-validate; } > "$work/pip.log" 2>&1; then
  echo "skipped: kubernetes-validate could not be installed: $(tail -1 "$work/pip.log")"
  exit 0
fi

mkdir "$work/volume" "$work/files"
cd "$work/volume"
cat > "$work/cluster.yaml" << C
program: $program
cpus: 1
environment: {AUTOINTERP_CACHE: "$work/cache"}
before:
  - echo "index \${JOB_COMPLETION_INDEX:-none}"
kubernetes:
  image: example.org/autointerp:1
  claim: shared
  mount_path: $work/volume
  namespace: lab
  secrets: [more]
  keys: {OPENAI_API_KEY: {secret: openai, key: api-key}}
  node_selector: {"on": "yes"}
gpus: 1
minutes: 30
C

echo "-- without kubectl the files stay written, and the exit code is 6"
code=0
PATH="$work/nowhere" "$program" submit "$suite" --engine kubernetes --parts 2 --out run --offline \
  --cluster "$work/cluster.yaml" 2> "$work/said" || code=$?
cat "$work/said"
[ "$code" = 6 ] && [ "$(grep -c '^error:' "$work/said")" = 1 ]

echo "-- the published schema"
"$work/venv/bin/kubernetes-validate" --strict run/jobs/parts.yaml run/jobs/summary.yaml

echo "-- the command lines"
"$work/venv/bin/python" - run/jobs "$work/files" << 'P'
import pathlib, sys, yaml
jobs, files = map(pathlib.Path, sys.argv[1:])
config, parts = yaml.safe_load_all((jobs / "parts.yaml").read_text())
summary = yaml.safe_load((jobs / "summary.yaml").read_text())
for job, script in ((parts, "part.sh"), (summary, "summary.sh")):
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["/bin/sh", f"/autointerp/{script}"], container["command"]
assert parts["spec"]["completions"] == parts["spec"]["parallelism"] == 2
for name, text in config["data"].items():
    # The volume of files is mounted at /autointerp in a pod, and lies here outside of one.
    (files / name).write_text(text.replace("/autointerp/", f"{files}/") if name.endswith(".sh") else text)
P
cmp "$suite" "$work/files/$(basename "$suite")"
reference=${REFERENCE:-}
if [ -z "$reference" ]; then
  reference="$work/plain"
  "$program" run "$suite" --out "$reference" --offline --quiet > "$work/plain.log"
fi
for index in 0 1; do
  JOB_COMPLETION_INDEX=$index /bin/sh "$work/files/part.sh" > "$work/part-$index.log" 2>&1 &
  pids[index]=$!
done
for index in 0 1; do
  wait "${pids[index]}" || { tail -n 20 "$work/part-$index.log" >&2; exit 1; }
done
/bin/sh "$work/files/summary.sh" > "$work/summary.log" 2>&1 || { tail -n 20 "$work/summary.log" >&2; exit 1; }
cmp "$reference/summary.json" run/summary.json
cmp "$reference/scores.jsonl" run/scores.jsonl
echo "the summary is that of a plain run"
