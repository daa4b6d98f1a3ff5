# Sourced by the scripts beside it; it does nothing on its own.
#
# A script sets
#   NAME        what the server is called in messages
#   MODEL_NAME  what the server calls the model
#   LLM         further fields of `llm`: "omit: [seed], prompt_logprobs: vllm"
#   EXPECTED[places]  what places.py says of it
#   EXPECTED    what the server can do, by kind: "works", or "cannot: " and words of the message that says so
# starts its server, and ends with `check http://127.0.0.1:PORT/v1`.
#
# Variables of whoever runs it
#   AUTOINTERP              the program; target/release/autointerp, built where it is absent
#   MODEL                   the file SmolLM2-135M-Instruct.Q4_1.gguf; the one in the folder AUTOINTERP_REAL_MODELS
#   SERVER_ENV              a folder for the server's environment, kept; a temporary one, removed at the end
#   PYTHON                  python3
#   KINDS                   which kinds to try, with blanks between; all
#   KEEP                    1: what was run stays in its temporary folder

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PYTHON=${PYTHON:-python3}
KINDS=${KINDS:-generated generated_expected prompt_logprobs detection surprisal}
SERVER_PID=

die() { echo "$NAME: $*" >&2; exit 2; }

# What must be there, checked before anything is installed or built. Makes WORK, a temporary folder.
prepare() {
  command -v "$PYTHON" > /dev/null || die "$PYTHON is not there: install Python 3.11 or later, or set PYTHON"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$PYTHON is older than 3.10: set PYTHON to a later one"
  "$PYTHON" -c 'import venv, ensurepip' 2> /dev/null || die "$PYTHON makes no environments with pip (Debian: apt install python3-venv)"
  if [ -z "${MODEL:-}" ]; then
    [ -n "${AUTOINTERP_REAL_MODELS:-}" ] || die "set MODEL to the file SmolLM2-135M-Instruct.Q4_1.gguf, or AUTOINTERP_REAL_MODELS to its folder"
    MODEL=$AUTOINTERP_REAL_MODELS/SmolLM2-135M-Instruct.Q4_1.gguf
  fi
  [ -f "$MODEL" ] || die "$MODEL is not there"
  MODEL=$(cd "$(dirname "$MODEL")" && pwd)/$(basename "$MODEL")
  if [ -z "${AUTOINTERP:-}" ]; then
    AUTOINTERP=$ROOT/target/release/autointerp
    [ -x "$AUTOINTERP" ] || (cd "$ROOT" && cargo build --release) || die "the program could not be built"
  fi
  [ -x "$AUTOINTERP" ] || die "$AUTOINTERP is not a program"
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/autointerp-servers.XXXXXX")
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  SERVER_ENV=${SERVER_ENV:-$WORK/environment}
}

clean_up() {
  if [ -n "$SERVER_PID" ]; then
    # The whole group: servers start workers of their own.
    kill -- "-$SERVER_PID" 2> /dev/null || kill "$SERVER_PID" 2> /dev/null || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$SERVER_PID" 2> /dev/null || break; sleep 1; done
    kill -9 -- "-$SERVER_PID" 2> /dev/null || true
    wait "$SERVER_PID" 2> /dev/null || true
  fi
  if [ "${KEEP:-}" = 1 ]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
}

# An environment in SERVER_ENV, made where there is none; packages of an earlier run are taken as they are.
environment() {
  [ -x "$SERVER_ENV/bin/python" ] || "$PYTHON" -m venv "$SERVER_ENV" || die "no environment could be made in $SERVER_ENV"
}

pip_install() { "$SERVER_ENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || die "pip could not install $*"; }

version_of() { "$SERVER_ENV/bin/python" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$1"; }

has() { "$SERVER_ENV/bin/python" -c 'import sys; from importlib.metadata import version; version(sys.argv[1])' "$1" 2> /dev/null; }

# A port that is free now.
free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# serve PORT SECONDS COMMAND…: starts a server in a group of its own and waits until it lists its models.
serve() {
  local port=$1 seconds=$2 start=$SECONDS
  shift 2
  set -m
  "$@" > "$WORK/server.log" 2>&1 &
  SERVER_PID=$!
  set +m
  until probe "http://127.0.0.1:$port/v1/models"; do
    if ! kill -0 "$SERVER_PID" 2> /dev/null; then tail -n 30 "$WORK/server.log" >&2; die "the server ended before it answered"; fi
    if ((SECONDS - start >= seconds)); then tail -n 30 "$WORK/server.log" >&2; die "no answer after $seconds seconds"; fi
    sleep 1
  done
  echo "$NAME: answers after $((SECONDS - start)) s"
}

probe() { "$PYTHON" -c 'import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5)' "$1" 2> /dev/null; }

# Few and short fragments, so that a server on a CPU is through in minutes. 15 tokens, and 4 texts in a question of detection, as
# many as the last worked examples have: where nothing holds a small model to the schema, it answers with as many values.
FRAGMENTS='base: standard, fragment_tokens: 15, n_non_firing: 6,
  explain: {top: {start: 0, step: 2, n: 4}, random: {start: 0, step: 2, n: 2}, non_firing: {start: 0, step: 2, n: 2}},
  score: {top: {start: 1, step: 2, n: 2}, random: {start: 1, step: 2, n: 1}, non_firing: {start: 0, step: 1, n: 0}}'

# suite KIND URL: suites/api.yaml with one method, three features and few fragments, through one simulator or one judged score.
suite() {
  local kind=$1 url=$2 fields=() score
  case $kind in
    generated | generated_expected | prompt_logprobs)
      fields=(--set "simulator.kind=$kind" --set 'scorers=[top_and_random]')
      score=top_and_random
      ;;
    detection | surprisal)
      fields=(--set "scorers=[$kind]" --set 'judge={per_question: 4}')
      score=$kind
      ;;
    *) die "no kind is called $kind" ;;
  esac
  # Explanations are asked for once: the cache is the same for all kinds.
  AUTOINTERP_CACHE=$WORK/cache "$AUTOINTERP" run "$ROOT/suites/api.yaml" --offline --progress none --out "$WORK/$kind" \
    --set "explainer={kind: token_activation, llm: {client: openai, base_url: \"$url\", model: \"$MODEL_NAME\", $LLM}}" \
    --set 'methods=[{name: topk, kind: topk, expansion: 2, k: 12, steps: 200}]' --set 'features.per_cell=3' \
    --set 'corpus.fit_tokens=20000' --set 'pairs=[]' --set 'controls=[]' \
    --set "protocol={$FRAGMENTS}" \
    --set 'statistics={reference: topk, resamples: 100, permutations: 100}' \
    "${fields[@]}" > "$WORK/$kind.out" 2> "$WORK/$kind.err" && CODE=0 || CODE=$?
  outcome "$kind" "$score"
}

# outcome KIND SCORE: SCORED, ASKED, EXPLAINED and REASONS of a run, from its folder.
outcome() {
  local told
  told=$("$PYTHON" - "$WORK/$1/scores.jsonl" "$2" << 'P'
import collections, json, os, shlex, sys

path, score = sys.argv[1:]
rows = [json.loads(line) for line in open(path)] if os.path.exists(path) else []
asked = [row for row in rows if row["status"] != "skipped"]
number = lambda row: row["status"] == "scored" and row["scores"].get(score) is not None
# A prediction that does not vary has no correlation; it was read all the same.
flat = lambda row: row["status"] == "scored" and row["score_reasons"].get(score) == "constant_prediction"
why = lambda row: row.get("reason") or (row.get("score_reasons") or {}).get(score) or "no reason"
missing = collections.Counter(why(row) for row in asked if not number(row))
told = {
    "ASKED": len(asked),
    "SCORED": sum(map(number, asked)),
    "FLAT": sum(map(flat, asked)),
    "EXPLAINED": sum(row.get("explanation") is not None for row in asked),
    "REASONS": ", ".join(f"{n} {reason}" for reason, n in sorted(missing.items())),
}
print("\n".join(f"{name}={shlex.quote(str(value))}" for name, value in told.items()))
P
  ) || die "the scores of $1 cannot be read"
  eval "$told"
}

# places URL: where the server puts the log-probabilities of a prompt's tokens, held against EXPECTED[places].
places() {
  local found expected=${EXPECTED[places]:-nothing is stated}
  found=$("$PYTHON" "$HERE/places.py" "$1" "$MODEL_NAME") || found='no answer'
  echo "log-probabilities of a prompt's tokens (echo): $found (expected: $expected)"
  [ "$found" = "$expected" ]
}

# check URL: every kind, held against EXPECTED. Ends the script: 0 as expected, 1 not.
check() {
  local url=$1 kind expected verdict words start wrong=0 explained=0 all_asked=0
  "$AUTOINTERP" --version
  places "$url" || wrong=1
  printf '%-19s %5s  %-7s %-9s %5s  %s\n' kind exit scored explained time outcome
  for kind in $KINDS; do
    start=$SECONDS
    suite "$kind" "$url"
    kill -0 "$SERVER_PID" 2> /dev/null || { tail -n 30 "$WORK/server.log" >&2; echo "$NAME: the server died in $kind" >&2; wrong=1; }
    explained=$((explained + EXPLAINED)) all_asked=$((all_asked + ASKED))
    expected=${EXPECTED[$kind]:-nothing is stated}
    verdict=$(judge "$kind" "$expected") || wrong=1
    words="${REASONS:+missing: $REASONS; }$verdict"
    printf '%-19s %5s  %-7s %-9s %4ss  %s\n' "$kind" "$CODE" "$SCORED of $ASKED" "$EXPLAINED of $ASKED" $((SECONDS - start)) "$words"
    if [ "$CODE" != 0 ]; then grep -v '^$' "$WORK/$kind.err" | tail -n 6 | cut -c 1-400 | sed 's/^/    /'; fi
  done
  if [ "${EXPECTED[explain]:-}" = works ] && [ "$explained" = 0 ]; then
    echo "explain: no feature of any run has an explanation; it was expected to work"
    wrong=1
  else
    echo "explain: $explained explanations of $all_asked rows"
  fi
  if [ "$wrong" = 0 ]; then echo "$NAME: as expected"; else echo "$NAME: NOT as expected"; fi
  exit "$wrong"
}

# Whether an outcome is the one expected, in words.
judge() {
  local kind=$1 expected=$2 words
  case $expected in
    works)
      # 3: more features failed than the suite allows, which a small model's replies may bring about.
      if [ "$CODE" != 0 ] && [ "$CODE" != 3 ]; then echo "UNEXPECTED exit code"; return 1; fi
      if [ "$SCORED" = 0 ]; then echo "UNEXPECTED: nothing was scored"; return 1; fi
      case $REASONS in
        *bad_request* | *server_error* | *timeout* | *no_logprobs* | *"no reason"*) echo "UNEXPECTED: the server is at fault"; return 1 ;;
      esac
      echo "works, as expected"
      ;;
    "cannot: "*)
      words=${expected#cannot: }
      if [ "$SCORED" != 0 ]; then echo "UNEXPECTED: it works"; return 1; fi
      if ! grep -qF -- "$words" "$WORK/$kind.err" "$WORK/$kind.out"; then echo "UNEXPECTED: no message says: $words"; return 1; fi
      echo "cannot, as expected: $words"
      ;;
    *) echo "UNEXPECTED: $expected"; return 1 ;;
  esac
}
