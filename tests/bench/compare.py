#!/usr/bin/env python3
"""Times autointerp's paths beside their peers, in turns, on the same data.

    python tests/bench/compare.py [--only topk,pca,…] [--quick] [--out DIR]

    python tests/bench/compare.py --device cuda --only topk,relu,equal,harvest

Makes a throw-away environment below --work (default: a temporary folder) and installs the peers there from PyPI:
torch, transformers, scikit-learn, dictionary-learning, sae-lens. Needs `cargo build --release` first. Every figure
is the median of at least five turns; programs take turns, so that a slow minute of the machine hits both. Writes
DIR/bench.json and DIR/bench.svg, and prints a table in Markdown. With --device cuda, training and forward passes of
both sides are on the first GPU, which needs `cargo build --release --features cuda`; --python names an environment
that has the peers already.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ["torch", "numpy", "scipy", "scikit-learn", "safetensors", "transformers", "dictionary-learning", "sae-lens",
         "matplotlib"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", help="names of rows, separated by commas; a name's beginning will do")
    arguments.add_argument("--quick", action="store_true", help="three turns, the smallest sizes")
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "autointerp", type=pathlib.Path)
    arguments.add_argument("--python", type=pathlib.Path, help="a Python that has the peers; nothing is installed")
    arguments.add_argument("--out", default="bench-results")
    arguments.add_argument("--work", help="folder of the environment, kept for the next time")
    options = arguments.parse_args()
    program = options.program
    if not program.exists():
        sys.exit("build it first: cargo build --release")
    work = pathlib.Path(options.work or tempfile.mkdtemp(prefix="autointerp-bench-"))
    python = options.python or work / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(work / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True)
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads),
                       HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", PYTHONPATH=str(HERE))
    asked = {"program": str(program), "work": str(work), "out": str(pathlib.Path(options.out).resolve()),
             "only": options.only.split(",") if options.only else [], "quick": options.quick,
             "turns": 3 if options.quick else options.turns, "threads": options.threads, "device": options.device,
             "system": f"{platform.system()} {platform.machine()}"}
    finished = subprocess.run([str(python), str(HERE / "rows.py"), json.dumps(asked)], env=environment)
    sys.exit(finished.returncode)


if __name__ == "__main__":
    main()
