"""Which decomposition of a language model's activations can a person understand?

    run = autointerp.run("suites/smoke.yaml")       # or autointerp.load("results/smoke")
    cells = polars.DataFrame(run.cells)             # or pyarrow.table(run.cells).to_pandas()
    run.feature("blocks.2.hook_resid_post", "topk", 17)   # in a notebook: the feature's page

Every function calls the Rust library of the command `autointerp`, so numbers and messages are the same.
"""

from __future__ import annotations

import html
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

from . import _native
from ._native import Error, Table

if TYPE_CHECKING:
    import numpy

__all__ = ["Comparison", "Error", "Feature", "Gate", "Run", "Table", "compare", "load", "main", "regress", "run"]

PathLike = Union[str, "os.PathLike[str]"]

# Starts this program again, for work that needs a process of its own. `-I -S` leave out everything but the standard
# library; the folder of this package is the first argument.
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from autointerp import main; sys.exit(main())"


def _command() -> list[str]:
    if not sys.executable:
        return []
    return [sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).resolve().parent.parent)]


def main() -> int:
    """The command `autointerp` with the arguments of this process. Returns the exit code."""
    # The program has its own way to end on Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # With `python -m autointerp` the first word is a file that no shell can run.
    name = "autointerp" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    return _native.main([name, *sys.argv[1:]], _command())


def run(
    suite: PathLike | Mapping[str, Any],
    *,
    set: Mapping[str, Any] | None = None,
    out: PathLike | None = None,
    seed: int | None = None,
    limit_features: int | None = None,
    fresh: bool = False,
    offline: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    budget_usd: float | None = None,
    progress: Literal["auto", "plain", "json", "none"] | Callable[[dict[str, Any]], object] = "auto",
) -> Run:
    """Runs a suite, resuming what is done, as the command `autointerp run` does.

    `suite` is a suite file, or its content as a mapping. `set` overrides fields of it:
    `set={"corpus.fit_tokens": 100_000}`. The other arguments are the flags of the command; `threads` counts in the
    first run of a process. `progress` is a form of `--progress` on stderr, or a function that is called with each
    event: a dictionary with `event` (`work`, `overall`, `note`, `warning`) and `data`.

    Ctrl-C raises `KeyboardInterrupt` when the piece of work in hand is stored; the same call then resumes. An
    exception of the function `progress` stops the run in the same way. Failures raise `Error`.
    """
    if isinstance(suite, Mapping):
        path, text = None, json.dumps(suite, ensure_ascii=False, allow_nan=False)
    else:
        path, text = os.fspath(suite), None
    folder, walked, failed, too_many = _native.run(
        {
            "suite": path,
            "text": text,
            "set": [f"{field}={json.dumps(value, ensure_ascii=False)}" for field, value in (set or {}).items()],
            "seed": seed,
            "limit_features": limit_features,
            "out": None if out is None else os.fspath(out),
            "fresh": fresh,
            "device": device,
            "budget_usd": budget_usd,
            "offline": offline,
            "threads": threads,
            "progress": "none" if callable(progress) else progress,
            "callback": progress if callable(progress) else None,
            "command": _command(),
        }
    )
    if too_many:
        text = f"{failed} of {walked} features failed, more than `limits.failed_allowed`; results in {folder}"
        warnings.warn(text, stacklevel=2)
    return load(folder)


def load(folder: PathLike) -> Run:
    """The run in a folder, `results/NAME`. Raises `Error` if no run has finished there."""
    found = Run(folder)
    _ = found.cells
    return found


class Run:
    """A finished run. Its tables are read when they are first asked for.

    `polars.DataFrame(run.cells)` and `pyarrow.table(run.cells)` take a table without a copy. Columns have the names
    and meanings of the files: see `results/README.md`.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder)

    @cached_property
    def cells(self) -> Table:
        """Mean scores with intervals and counts: one row per hook point, method, explainer, control and scorer."""
        return _native.table(self.folder, "cells")

    @cached_property
    def quality(self) -> Table:
        """Size, sparsity and reconstruction of every dictionary."""
        return _native.table(self.folder, "quality")

    @cached_property
    def differences(self) -> Table:
        """Comparisons of two methods, with p-values and verdicts."""
        return _native.table(self.folder, "differences")

    @cached_property
    def rankings(self) -> Table:
        """Methods in the order of their means, one row per ranking and method."""
        return _native.table(self.folder, "rankings")

    @cached_property
    def features(self) -> Table:
        """Every feature that was walked, under each explainer and control: status, explanation, density."""
        return _native.table(self.folder, "features")

    @cached_property
    def scores(self) -> Table:
        """Every score of every feature, one row each; a null score has a reason."""
        return _native.table(self.folder, "scores")

    def feature(self, hook: str, method: str, feature: int) -> Feature:
        """One feature, for a notebook."""
        return Feature(self, hook, method, feature)

    def activations(self, hook: str) -> numpy.ndarray[Any, Any]:
        """The subject's activations at a hook point, as a read-only array that is mapped from their file.

        `[sequences, positions, width]` of the file that a suite names as its subject (`subject: {activations: FILE}`),
        or `[tokens, width]` of the fit split, where the cache still has them. A run deletes activations that it
        harvests, so most runs have none: then `Error` says so.
        """
        path, dtype, offset, shape = _native.activations(self.folder, hook)
        import numpy

        return numpy.memmap(path, dtype=dtype, mode="r", offset=offset, shape=tuple(shape))

    @property
    def citation(self) -> str:
        """How to cite this run, in words."""
        return _native.citation(self.folder)[0]

    @property
    def bibtex(self) -> str:
        """How to cite this run, as a BibTeX entry."""
        return _native.citation(self.folder)[1]

    def __repr__(self) -> str:
        return f"autointerp.load({str(self.folder)!r})"


class Feature:
    """A feature of a run: its evidence, as its page shows it."""

    def __init__(self, run: Run, hook: str, method: str, feature: int) -> None:
        self.run = run
        self.hook = hook
        self.method = method
        self.feature = feature

    def html(self) -> str:
        """The view as an HTML document that needs no other file and no network."""
        return _native.feature_view(self.run.folder, self.hook, self.method, self.feature)

    def show(self) -> None:
        """Shows the view in a notebook."""
        from IPython.display import HTML, display

        display(HTML(self._repr_html_()))

    def _repr_html_(self) -> str:
        # A frame of its own: the page's styles and scripts, and texts of models, stay apart from the notebook.
        document = html.escape(self.html(), quote=True)
        title = html.escape(f"{self.hook}/{self.method}/{self.feature}", quote=True)
        style = "width: 100%; height: 720px; border: 0"
        return f'<iframe sandbox="allow-scripts" title="{title}" style="{style}" srcdoc="{document}"></iframe>'

    def __repr__(self) -> str:
        return f"{self.run!r}.feature({self.hook!r}, {self.method!r}, {self.feature})"


class _Result:
    """A text, as the command prints it, and the same as data."""

    def __init__(self, text: str, data: str) -> None:
        self.text = text
        self.data: dict[str, Any] = json.loads(data)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


class Comparison(_Result):
    """Two runs cell by cell. `data` is what `autointerp compare --json` prints."""

    cells: Table
    """Difference, interval and verdict of every cell; differences are second minus first."""
    quality: Table
    """Numbers of every dictionary in both runs."""


class Gate(_Result):
    """A run against accepted ones. `data` is what `autointerp regress --json` prints."""

    passed: bool
    """Whether nothing that gates is worse, and nothing is missing."""
    lines: Table
    """Every quantity that was tested."""


def _folder(run: Run | PathLike) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def compare(a: Run | PathLike, b: Run | PathLike) -> Comparison:
    """Compares two runs cell by cell, as `autointerp compare` does."""
    text, data, cells, quality = _native.compare(_folder(a), _folder(b))
    found = Comparison(text, data)
    found.cells, found.quality = cells, quality
    return found


def regress(run: Run | PathLike, against: PathLike) -> Gate:
    """Tests a run against the accepted runs of a file, as `autointerp regress` does."""
    passed, text, data, lines = _native.regress(_folder(run), Path(against))
    found = Gate(text, data)
    found.passed, found.lines = passed, lines
    return found
