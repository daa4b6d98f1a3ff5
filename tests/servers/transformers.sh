#!/usr/bin/env bash
# transformers serve: transformers.sh
# Installs transformers[serving] from PyPI (with PyTorch, about 6 GB), serves SmolLM2-135M-Instruct on loopback and holds it
# against EXPECTED. check.sh lists the variables.
set -euo pipefail

NAME='transformers serve'
TRANSFORMERS_VERSION=5.24.0
TORCH_VERSION=2.13.0

source "$(dirname "${BASH_SOURCE[0]}")/check.sh"
prepare
environment
has transformers || pip_install "torch==$TORCH_VERSION" "transformers[serving]==$TRANSFORMERS_VERSION" gguf accelerate safetensors
"$SERVER_ENV/bin/python" "$HERE/to_folder.py" "$MODEL" "$WORK/smollm2" > "$WORK/unpack.log" 2>&1 ||
  { tail -n 20 "$WORK/unpack.log" >&2; die "the model could not be unpacked"; }

# The server knows the model by its folder's path alone. It answers one question at a time.
MODEL_NAME=$WORK/smollm2
LLM='max_in_flight: 1, timeout_seconds: 600'
declare -A EXPECTED=(
  [places]=none
  [explain]=works
  [generated]=works
  [generated_expected]='cannot: no_logprobs'
  [prompt_logprobs]='cannot: does not echo the prompt'
  [detection]=works
  [surprisal]='cannot: does not echo the prompt'
)

echo "$NAME: transformers $(version_of transformers), torch $(version_of torch)"
port=$(free_port)
cd "$WORK"
serve "$port" 300 env HF_HUB_OFFLINE=1 \
  "$SERVER_ENV/bin/transformers" serve "$WORK/smollm2" --host 127.0.0.1 --port "$port" --device cpu
check "http://127.0.0.1:$port/v1"
