"""Unpacks a GGUF file of the Llama family into a transformers folder in bf16: to_folder.py FILE.gguf FOLDER

For servers that read such folders and no GGUF. It needs torch, transformers, gguf, accelerate and safetensors.
"""

import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(file, folder):
    source, name = os.path.split(os.path.abspath(file))
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
    os.makedirs(folder, exist_ok=True)
    # Embedding and head are one matrix: it is written once.
    weights = {
        key: value.to(torch.bfloat16).contiguous()
        for key, value in model.state_dict().items()
        if key != "lm_head.weight"
    }
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as there:
        config = json.load(there)
    # The weights are plain numbers now, so the note of their old form goes.
    config.pop("quantization_config", None)
    config.update(architectures=["LlamaForCausalLM"], dtype="bfloat16", tie_word_embeddings=True)
    with open(path, "w") as there:
        json.dump(config, there, indent=1)
    # Last, so that a folder with weights is whole.
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
