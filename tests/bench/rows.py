"""Every row of the table: our path, its peers, and the check that both did the same work."""

import contextlib
import gc
import importlib.util
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from safetensors.numpy import save_file

import peers

ASKED = json.loads(sys.argv[1])
WORK = pathlib.Path(ASKED["work"])
OUT = pathlib.Path(ASKED["out"])
TURNS = ASKED["turns"]
DEVICE = ASKED["device"]
REST = 0.3  # seconds between two turns, in which the other program's waiting threads go to sleep


class Ours:
    """autointerp's `bench` verb: one line in, one line out."""

    def __init__(self, work):
        command = [ASKED["program"], "bench", "--threads", str(ASKED["threads"]), "--device", DEVICE]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(work)

    def ask(self, line):
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"autointerp stopped on {line}")
        return json.loads(answer)

    def peak_memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def timed(function):
    started = time.perf_counter()
    result = function()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def in_turns(runners, turns=None):
    """Median, least and most seconds of each of several functions that give their own seconds, in turns."""
    seconds = {name: [] for name in runners}
    for _ in range(turns or TURNS):
        for name, run in runners.items():
            seconds[name].append(run())
            time.sleep(REST)
    return {name: {"median": statistics.median(all), "least": min(all), "most": max(all), "turns": len(all)}
            for name, all in seconds.items()}


ROWS = []


def row(name, work, times, aim, ours="ours", **more):
    """Notes one row: seconds of each program and how many times ours is faster than each peer."""
    ratios = {peer: times[peer]["median"] / times[ours]["median"] for peer in times if peer != ours}
    ROWS.append({"name": name, "work": work, "seconds": times, "ratios": ratios, "aims": aim, **more})
    ratio = ", ".join(f"{peer} {value:.2f}x (aim {aim.get(peer, '-')})" for peer, value in ratios.items())
    print(f"{name}: ours {1e3 * times[ours]['median']:.1f} ms; {ratio} {more or ''}", flush=True)


def planted(rows, d, features, active, seed):
    """Rows of unit mean square that are sums of a few of many directions, and decoder rows to start from."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((features, d)).astype(np.float32)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    x = np.empty((rows, d), np.float32)
    for start in range(0, rows, 4096):
        n = min(4096, rows - start)
        chosen = rng.integers(0, features, (n, active))
        weight = rng.uniform(0.5, 1.5, (n, active)).astype(np.float32)
        x[start:start + n] = np.einsum("nk,nkd->nd", weight, truth[chosen])
    x += 0.05 * rng.standard_normal(x.shape, dtype=np.float32)
    return x / np.sqrt(np.mean(x.astype(np.float64) ** 2)).astype(np.float32)


def start_of(features, d, seed):
    decoder = np.random.default_rng(seed).standard_normal((features, d)).astype(np.float32)
    return decoder / np.linalg.norm(decoder, axis=1, keepdims=True)


def on_device(array):
    return torch.from_numpy(array).to(DEVICE)


def installed(module):
    return importlib.util.find_spec(module) is not None


def data_file(name, **tensors):
    path = WORK / f"{name}.safetensors"
    save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}, str(path))
    return str(path)


def training(name, ours_method, make_peers, features, aims, batch=2048, d=512, warm=3, per_turn=5, show=None):
    """Steps per turn on the same batches from the same start; losses over the first steps stand side by side."""
    x, decoder = planted(8 * batch, d, 2 * d, 16, 1), start_of(features, d, 2)
    ours = Ours({"work": "train", "data": data_file("train", x=x, decoder=decoder), "together": False,
                 "methods": [ours_method]})
    batches = torch.from_numpy(x).split(batch)  # in main memory, as ours
    trainers = make_peers(on_device(decoder), d, features)
    curve = {"ours": ours.ask({"steps": warm})["losses"]}
    place = {peer: 0 for peer in trainers}

    def run(peer, steps):
        losses = []
        for _ in range(steps):
            losses.append(trainers[peer](batches[place[peer] % len(batches)].to(DEVICE)))
            place[peer] += 1
        return losses

    for peer in trainers:
        curve[peer] = run(peer, warm)
    runners = {"ours": lambda: ours.ask({"steps": per_turn})["seconds"] / per_turn}
    for peer in trainers:
        runners[peer] = lambda peer=peer: timed(lambda: run(peer, per_turn))[0] / per_turn
    times = in_turns(runners)
    more = {"peak_memory_gb": ours.peak_memory() / 1e9}
    ours.close()
    if show:
        more["curves"] = curve
    gflop = 2 * batch * d * features / 1e9
    row(name, f"d {d}, {features:,} features, batch {batch}", times, aims,
        encoder_gflops=gflop / times["ours"]["median"], **more)


def topk_method(features, k=32, **more):
    return {"kind": "topk", "features": features, "k": k, "batch": 2048, "steps": 100000, "lr": 2e-4, "warmup": 0.0,
            "decay": 0.0, **more}


def topk():
    sizes = [4096] if ASKED["quick"] else [4096, 16384, 65536]
    aims = {4096: (8, 10), 16384: (10, 12), 65536: (10, 12)}
    for features in sizes:
        def make(decoder, d, features):
            made = {"torch": peers.plain_topk(decoder, k=32, lr=2e-4)}
            if features <= 16384 and installed("dictionary_learning"):
                made["dictionary_learning"] = peers.dictionary_learning_topk(decoder, k=32, lr=2e-4)
            if features <= 16384 and installed("sae_lens"):
                made["sae_lens"] = peers.sae_lens_topk(decoder, k=32, lr=2e-4)
            return made
        plain, library = aims[features]
        per_turn = 5 if features < 65536 else 2
        training(f"topk {features}", topk_method(features), make, features,
                 {"torch": plain, "dictionary_learning": library, "sae_lens": library}, per_turn=per_turn, show=True)


def equal_work():
    """The same loss after the same steps: 200 steps of TopK without dead features, beside torch."""
    features, d, batch, steps = 4096, 512, 2048, 60 if ASKED["quick"] else 200
    x, decoder = planted(8 * batch, d, 2 * d, 16, 1), start_of(features, d, 2)
    ours = Ours({"work": "train", "data": data_file("train", x=x, decoder=decoder), "together": False,
                 "methods": [topk_method(features)]})
    mine = ours.ask({"steps": steps})["losses"]
    ours.close()
    step = peers.plain_topk(on_device(decoder), k=32, lr=2e-4)
    batches = torch.from_numpy(x).split(batch)
    theirs = [step(batches[i % len(batches)].to(DEVICE)) for i in range(steps)]
    apart = abs(np.mean(mine[-8:]) / np.mean(theirs[-8:]) - 1)
    ROWS.append({"name": "equal work", "work": f"loss after {steps} steps", "curves": {"ours": mine, "torch": theirs},
                 "apart": apart})
    print(f"equal work: loss after {steps} steps {np.mean(mine[-8:]):.5f} and {np.mean(theirs[-8:]):.5f}, "
          f"{100 * apart:.2f} % apart", flush=True)


def relu():
    """L1 steps after so many that few codes are active. Both start there: from a dictionary that we trained."""
    features, d, batch = 4096, 512, 2048
    x, decoder = planted(8 * batch, d, 2 * d, 16, 1), start_of(features, d, 2)
    method = {"kind": "sae_untied", "features": features, "alpha": RELU_ALPHA, "batch": batch, "steps": 100000,
              "lr": 3e-4, "warmup": 0.0, "decay": 0.0, "resamples": 0}
    ours = Ours({"work": "train", "data": data_file("train", x=x, decoder=decoder), "together": False,
                 "methods": [method]})
    batches = torch.from_numpy(x).split(batch)
    trainers = {"torch": peers.plain_relu(on_device(decoder), l1=RELU_ALPHA * d, lr=3e-4)}
    if installed("dictionary_learning"):
        trainers["dictionary_learning"] = peers.dictionary_learning_relu(on_device(decoder), l1=RELU_ALPHA * d,
                                                                         lr=3e-4)
    ours.ask({"steps": 30 if ASKED["quick"] else 1000})
    place = {peer: 0 for peer in trainers}

    def run(peer, steps):
        for _ in range(steps):
            trainers[peer](batches[place[peer] % len(batches)].to(DEVICE))
            place[peer] += 1

    for peer in trainers:
        run(peer, 2)  # dense all the same: a peer's step takes as long at any number of active codes
    runners = {"ours": lambda: ours.ask({"steps": 5})["seconds"] / 5}
    for peer in trainers:
        runners[peer] = lambda peer=peer: timed(lambda: run(peer, 3))[0] / 3
    times = in_turns(runners)
    l0 = ours.ask({"steps": 1})["l0"]
    ours.close()
    row("relu l1", f"d {d}, {features:,} features, batch {batch}, after 1,000 steps", times,
        {"torch": 4, "dictionary_learning": 4.5}, l0=l0)


RELU_ALPHA = 0.01


def sweep():
    """Eight models in one pass over a store on disk against eight passes of one model each, all ours: reading,
    shuffling and whole trainings included."""
    d, batch, steps = 128, 512, 100 if ASKED["quick"] else 200
    x = planted(200 * batch, d, 2 * d, 8, 1)
    methods = [{"kind": "topk", "features": 512, "k": k, "batch": batch, "steps": steps}
               for k in (4, 6, 8, 12, 16, 24, 32, 48)]
    ours = Ours({"work": "sweep", "data": data_file("sweep", x=x), "methods": methods})
    assert ours.ask({"together": True})["l0"] == ours.ask({"together": False})["l0"]
    times = in_turns({"ours": lambda: ours.ask({"together": True})["seconds"],
                      "one by one": lambda: ours.ask({"together": False})["seconds"]})
    row("sweep of 8", f"d {d}, 512 features, batch {batch}, {steps} steps, eight k", times, {"one by one": 1.5})
    ours.close()


def pca():
    from sklearn.decomposition import PCA
    x = planted(50_000, 512, 1024, 16, 3)
    ours = Ours({"work": "pca", "data": data_file("pca", x=x)})
    variances = ours.ask({})["variances"]
    expected = PCA().fit(x).explained_variance_ * (len(x) - 1) / len(x)
    apart = float(np.max(np.abs(np.array(variances) / expected - 1)))
    times = in_turns({"ours": lambda: ours.ask({})["seconds"], "sklearn": lambda: timed(lambda: PCA().fit(x))[0]})
    ours.close()
    row("pca", "50,000 x 512", times, {"sklearn": 1}, largest_relative_difference=apart)


def ica():
    from sklearn.decomposition import FastICA
    n, d = (20_000, 128) if ASKED["quick"] else (50_000, 512)
    rng = np.random.default_rng(4)
    sources = rng.laplace(size=(n, d))
    mixed = sources @ rng.standard_normal((d, d))
    mixed -= mixed.mean(0)
    u, s, vt = np.linalg.svd(mixed, full_matrices=False)
    white = u * np.sqrt(n)

    def gradient(rotation):
        """Largest entry of the relative gradient of Σ E ln cosh y over rotations, in f64."""
        y = white @ rotation.T
        g = np.tanh(y)
        cross = g.T @ y / n
        slope = 1 - (g ** 2).mean(0)
        sign = np.where(slope >= np.diag(cross), 1.0, -1.0)
        cross = sign[:, None] * cross
        return float(np.abs(0.5 * (cross - cross.T)).max())

    limit = 1e-3
    ours = Ours({"work": "ica", "data": data_file("ica", x=white), "tolerance": limit})
    found = ours.ask({"rotation": True})
    reached = gradient(np.array(found["rotation"]).reshape(d, d))
    # scikit-learn stops by the change of its matrix: run to several limits, take the first whose gradient is as small.
    spent, theirs, iterations = 0.0, None, 0
    for most in ([50, 200]):
        solver = FastICA(algorithm="parallel", whiten=False, fun="logcosh", tol=1e-12, max_iter=most, random_state=1)
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spent, _ = timed(lambda: solver.fit(white))
        theirs, iterations = gradient(solver.components_), most
        if theirs <= max(limit, reached):
            break
    times = in_turns({"ours": lambda: ours.ask({})["seconds"]})
    times["sklearn"] = {"median": spent, "least": spent, "most": spent, "turns": 1}
    ours.close()
    row("ica", f"{n:,} x {d}, f64 peer", times, {"sklearn": 5}, our_gradient=reached, our_iterations=found["iterations"],
        their_gradient=theirs, their_iterations=iterations,
        note="" if theirs <= max(limit, reached) else "the peer had not converged; its time is a lower bound")


def harvest():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    torch.manual_seed(0)
    config = GPTNeoXConfig(vocab_size=50304, hidden_size=512, intermediate_size=2048, num_hidden_layers=6,
                           num_attention_heads=8, max_position_embeddings=2048, rotary_pct=0.25)
    model = GPTNeoXForCausalLM(config).eval().to(DEVICE)
    folder = WORK / "pythia"
    model.save_pretrained(folder)
    sequences = {"cpu": 16 if ASKED["quick"] else 32, "cuda": 512}[DEVICE]
    ids = torch.randint(0, 50277, (sequences, 256))
    tokens = WORK / "ids.json"
    tokens.write_text(json.dumps(ids.tolist()))
    ours = Ours({"work": "harvest", "model": str(folder), "tokens": str(tokens)})
    body = model.gpt_neox
    half = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().to(DEVICE).gpt_neox
    ids = ids.to(DEVICE)

    def forward(body):
        """Hidden states in main memory, where ours are."""
        with torch.inference_mode():
            return [stream.cpu() for stream in body(ids, output_hidden_states=True).hidden_states]

    # Their last one is behind the final norm, ours before it.
    expected = [float(stream.double().square().mean().sqrt()) for stream in forward(body)[1:-1]]
    forward(half)
    def report(name, asked, peer_times, aims):
        answer = ours.ask(asked)
        times = in_turns({"ours": lambda: ours.ask(asked)["seconds"], **peer_times})
        row(name, f"Pythia-70M shape, {ids.numel():,} tokens, 6 residual streams", times, aims,
            tokens_per_second={name: ids.numel() / one["median"] for name, one in times.items()},
            largest_relative_difference=max(abs(a / b - 1) for a, b in zip(answer["root_mean_squares"], expected)))

    in_bf16 = {"transformers bf16": lambda: timed(lambda: forward(half))[0]}
    report("harvest", {}, {"transformers f32": lambda: timed(lambda: forward(body))[0], **in_bf16},
           {"transformers f32": 2})
    if DEVICE == "cpu":
        report("harvest, half products", {"half": True}, in_bf16, {"transformers bf16": 1})
    ours.close()


def records():
    rng = np.random.default_rng(5)
    rows, d, features = 65536, 512, 4096
    times_over = 1 if ASKED["quick"] else 3
    x = planted(rows, d, 2 * d, 16, 5)
    encoder = start_of(features, d, 6)
    bias = np.full(features, -np.quantile(x[:2048] @ encoder.T, 0.98), np.float32)
    path = data_file("records", x=x, encoder=encoder, bias=bias)
    ours = Ours({"work": "records", "data": path, "times": times_over})
    xt, et, bt = torch.from_numpy(x), torch.from_numpy(encoder), torch.from_numpy(bias)
    maxima = np.array(ours.ask({})["maxima"])
    # Position 0 of a fragment does not count.
    counted = xt[torch.arange(rows) % 64 != 0]
    expected = peers.top_twenty_chunked(counted, et, bt, 1)[:, 0].numpy()
    apart = float(np.abs(maxima - np.maximum(expected, 0)).max())
    times = in_turns({"ours": lambda: ours.ask({})["seconds"],
                      "torch chunked": lambda: timed(lambda: peers.top_twenty_chunked(xt, et, bt, times_over))[0],
                      "torch fragments": lambda: timed(lambda: peers.top_twenty_fragments(xt, et, bt, times_over))[0]},
                     turns=3)
    memory = ours.peak_memory() / 1e9
    ours.close()
    row("records", f"{rows * times_over:,} tokens x {features:,} features", times,
        {"torch chunked": 3, "torch fragments": 3}, largest_difference_of_maxima=apart, peak_memory_gb=memory,
        note="ours also keeps random, quantile and non-firing samples and densities")


def peak():
    ours = Ours({"work": "peak"})
    best = max(ours.ask({})["gflops"] for _ in range(8))
    ours.close()
    a, b = torch.randn(2048, 512, device=DEVICE), torch.randn(4096, 512, device=DEVICE)
    theirs = max(2 * 2048 * 512 * 4096 / timed(lambda: a @ b.T)[0] / 1e9 for _ in range(8))
    half, other = a.bfloat16(), b.bfloat16()
    low = max(2 * 2048 * 512 * 4096 / timed(lambda: half @ other.T)[0] / 1e9 for _ in range(8))
    ROWS.append({"name": "peak", "work": "f32 product 2048 x 512 x 4096, GFLOP/s, best of 8", "ours": best,
                 "torch": theirs, "torch bf16": low})
    print(f"peak: ours {best:.0f}, torch {theirs:.0f}, torch bf16 {low:.0f} GFLOP/s", flush=True)


def growth():
    """Steps per second against features, k, batch; the slope of each in logarithms."""
    base = {"features": 4096, "k": 32, "batch": 2048}
    grid = {"features": [1024, 2048, 4096, 8192, 16384], "k": [8, 16, 32, 64, 128], "batch": [512, 1024, 2048, 4096]}
    curves = {}
    for axis, values in grid.items():
        points = []
        for value in values:
            at = dict(base, **{axis: value})
            x, decoder = planted(4096, 512, 1024, 16, 1), start_of(at["features"], 512, 2)
            method = topk_method(at["features"], at["k"])
            method["batch"] = at["batch"]
            ours = Ours({"work": "train", "data": data_file("growth", x=x, decoder=decoder), "together": False,
                         "methods": [method]})
            ours.ask({"steps": 3})
            points.append((value, statistics.median(ours.ask({"steps": 3})["seconds"] / 3 for _ in range(5))))
            ours.close()
        slope = np.polyfit(np.log([p[0] for p in points]), np.log([p[1] for p in points]), 1)[0]
        curves[axis] = {"points": points, "slope": float(slope)}
        print(f"growth with {axis}: " + ", ".join(f"{v}: {1e3 * s:.1f} ms" for v, s in points)
              + f"; time ~ {axis}^{slope:.2f}", flush=True)
    ROWS.append({"name": "growth", "work": "seconds of a TopK step", "curves": curves})


ALL = {"peak": peak, "equal": equal_work, "topk": topk, "relu": relu, "sweep": sweep, "pca": pca, "ica": ica,
       "harvest": harvest, "records": records, "growth": growth}


def versions():
    import importlib.metadata as metadata
    names = ["torch", "transformers", "scikit-learn", "dictionary-learning", "sae-lens", "numpy"]
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if DEVICE == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        info = pathlib.Path("/proc/cpuinfo").read_text()
        found["cpu"] = next((line.split(":")[1].strip() for line in info.splitlines() if "model name" in line), "")
    return found


def markdown():
    lines = ["| work | size | ours, ms | peer | peer, ms | times faster | aim |", "|---|---|---|---|---|---|---|"]
    for one in ROWS:
        for peer, ratio in one.get("ratios", {}).items():
            seconds = one["seconds"]
            reached = one["aims"].get(peer)
            lines.append(f"| {one['name']} | {one['work']} | {1e3 * seconds['ours']['median']:.1f} | {peer} | "
                         f"{1e3 * seconds[peer]['median']:.1f} | {ratio:.2f} | {reached if reached else '–'} |")
    return "\n".join(lines)


def chart():
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plot
    bars = [(f"{one['name']} / {peer}", ratio, one["aims"].get(peer))
            for one in ROWS for peer, ratio in one.get("ratios", {}).items()]
    if not bars:
        return
    figure, axes = plot.subplots(figsize=(9, 0.5 + 0.32 * len(bars)))
    places = range(len(bars))
    axes.barh(list(places), [bar[1] for bar in bars], color="#4477aa")
    for place, (_, _, aim) in zip(places, bars):
        if aim:
            axes.plot([aim, aim], [place - 0.4, place + 0.4], color="#cc3311", linewidth=2)
    axes.set_yticks(list(places), [bar[0] for bar in bars])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times faster than the peer (log scale); red: aim")
    figure.tight_layout()
    figure.savefig(OUT / "bench.svg")


def main():
    torch.set_num_threads(ASKED["threads"])
    OUT.mkdir(parents=True, exist_ok=True)
    for name, function in ALL.items():
        if not ASKED["only"] or any(name.startswith(asked) for asked in ASKED["only"]):
            function()
            gc.collect()
            document = {"threads": ASKED["threads"], "device": DEVICE, "system": ASKED["system"],
                        "versions": versions(), "rows": ROWS}
            (OUT / "bench.json").write_text(json.dumps(document, indent=1))
    print("\n" + markdown())
    chart()


if __name__ == "__main__":
    main()
