"""A run of the smoke suite with few features, shared by all tests."""

from pathlib import Path

import pytest

import autointerp

ROOT = Path(__file__).resolve().parents[2]

# Less of everything than `suites/smoke.yaml` asks for.
LESS = {
    "corpus.fit_tokens": 10_000,
    "corpus.eval_fragments": 600,
    "features.per_cell": 4,
    "methods.0.steps": 60,
    "statistics.resamples": 1_000,
    "statistics.permutations": 1_000,
}


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("AUTOINTERP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def suite():
    return ROOT / "suites" / "smoke.yaml"


@pytest.fixture(scope="session")
def small_run(cache, suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "small"
    return autointerp.run(suite, set=LESS, out=out, offline=True, progress="none")
