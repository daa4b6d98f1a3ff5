#!/usr/bin/env bash
# The server of llama-cpp-python: llama_cpp.sh
# Installs llama-cpp-python[server] from PyPI, which compiles llama.cpp (a C++ compiler; a quarter of an hour on two cores),
# serves SmolLM2-135M-Instruct on loopback and holds it against EXPECTED. check.sh lists the variables.
set -euo pipefail

NAME=llama-cpp-python
LLAMA_CPP_VERSION=0.3.36
# It takes a schema as `json_object`, and answers one question at a time. Its own `repeat_penalty` of 1.1 would make a list of
# equal numbers count up.
MODEL_NAME=smollm2
LLM='response_format: json_object, extra_body: {repeat_penalty: 1.0}, max_in_flight: 1, timeout_seconds: 600'
# Of a model whose prompts begin without BOS, as this one, it gives the log-probabilities of a prompt one place off. The likeliest
# tokens can be put in place; a token's own probability is not among them.
declare -A EXPECTED=(
  [places]=next
  [explain]=works
  [generated]=works
  [generated_expected]=works
  [prompt_logprobs]=works
  [detection]=works
  [surprisal]='cannot: belongs to the next one'
)

source "$(dirname "${BASH_SOURCE[0]}")/check.sh"
prepare
environment
has llama-cpp-python || pip_install "llama-cpp-python[server]==$LLAMA_CPP_VERSION"

echo "$NAME: llama-cpp-python $(version_of llama-cpp-python)"
port=$(free_port)
cd "$WORK"
# Log-probabilities of a prompt's tokens need the logits of all tokens.
serve "$port" 120 "$SERVER_ENV/bin/python" -m llama_cpp.server --model "$MODEL" --model_alias smollm2 \
  --host 127.0.0.1 --port "$port" --n_ctx 8192 --logits_all true
check "http://127.0.0.1:$port/v1"
