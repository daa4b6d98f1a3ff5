"""Tables of a run in polars, pandas and pyarrow; the gate; citations; pages; activations."""

import json

import numpy
import pandas
import polars
import pyarrow
import pytest

import autointerp


def lines(run):
    return [json.loads(line) for line in (run.folder / "scores.jsonl").read_text().splitlines()]


def test_cells_are_those_of_the_summary(small_run):
    summary = json.loads((small_run.folder / "summary.json").read_text())
    cells = polars.DataFrame(small_run.cells)
    assert cells.height == len(small_run.cells) == len(summary["cells"])
    assert cells.columns == small_run.cells.column_names
    assert cells["mean"].to_list() == [cell["mean"] for cell in summary["cells"]]
    assert cells["n_scored"].dtype == polars.Int64, "differences of counts must not wrap around"
    assert [tally["scored"] for tally in cells["tally"]] == [cell["tally"]["scored"] for cell in summary["cells"]]
    for name in ["quality", "differences"]:
        table = pyarrow.table(getattr(small_run, name))
        assert table.num_rows == len(summary[name]), name
    verdicts = [row["verdict"] for row in summary["differences"]]
    assert polars.DataFrame(small_run.differences)["verdict"].cast(str).to_list() == verdicts
    fvu = pyarrow.table(small_run.quality)["fvu"].to_pylist()
    assert fvu == [row["fvu"] for row in summary["quality"]]


def test_a_missing_number_is_null_and_never_nan(small_run):
    quality = polars.DataFrame(small_run.quality)
    assert quality["fvu"].null_count() > 0 and not quality["fvu"].is_nan().any()


def test_every_score_of_every_line_is_a_row(small_run):
    features, scores = polars.DataFrame(small_run.features), polars.DataFrame(small_run.scores)
    assert features["explanation"].to_list() == [line["explanation"] for line in lines(small_run)]
    expected = [(line["feature"], name, value) for line in lines(small_run) for name, value in line["scores"].items()]
    assert scores.select("feature", "scorer", "score").rows() == expected


def test_pandas_reads_the_same(small_run):
    frame = pyarrow.table(small_run.cells).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == len(small_run.cells)
    of_method = frame[frame.control.isna()].groupby("method")["mean"].mean()
    assert {"topk", "random"} <= set_of(of_method.index)


def set_of(index):
    return {str(name) for name in index}


def test_a_run_compares_with_itself(small_run):
    found = autointerp.compare(small_run, small_run.folder)
    cells = polars.DataFrame(found.cells)
    assert cells["identical"].all() and cells["mean_a"].to_list() == cells["mean_b"].to_list()
    assert found.data["b"] == str(small_run.folder) and str(found) == found.text
    assert len(found.quality) > 0
    with pytest.raises(autointerp.Error) as raised:
        autointerp.regress(small_run, small_run.folder / "nothing.json")
    assert raised.value.exit_code == 6


def test_a_run_is_cited_by_its_digest(small_run):
    digest = json.loads((small_run.folder / "summary.json").read_text())["run"]
    assert f"Run {digest} of the suite smoke" in small_run.citation
    assert small_run.bibtex.startswith(f"@software{{autointerp-{digest[:8]},")


def test_a_feature_is_shown_in_a_frame_of_its_own(small_run):
    row = polars.DataFrame(small_run.features).filter(polars.col("status").cast(str) == "scored").row(0, named=True)
    feature = small_run.feature(row["hook"], row["method"], row["feature"])
    page = feature.html()
    assert "<script" in page and len(page) < 300_000
    with pytest.raises(autointerp.Error) as unknown:
        small_run.feature(row["hook"], row["method"], 999_999).html()
    assert "999999" in str(unknown.value)
    shown = feature._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"') and "<script" not in shown
    with pytest.raises(autointerp.Error):
        small_run.feature(row["hook"], "no-such-method", 0).html()


def test_activations_are_mapped_where_they_are_kept(small_run, tmp_path, monkeypatch):
    hook = "blocks.2.hook_resid_post"
    with pytest.raises(autointerp.Error, match="a run deletes what it harvests") as raised:
        small_run.activations(hook)
    assert raised.value.exit_code == 6 and "harvest" in raised.value.hints[0]
    # A run on activations that its suite names.
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    values = numpy.arange(24, dtype="<f4").reshape(2, 3, 4)
    ids = numpy.zeros((2, 3), dtype="<i8")
    write_safetensors(tmp_path / "acts.safetensors", {hook: values, "token_ids": ids})
    manifest = {"suite": {"subject": {"activations": "acts.safetensors"}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = autointerp.Run(folder).activations(hook)
    assert isinstance(found, numpy.memmap) and not found.flags.writeable
    assert (found == values).all()


def write_safetensors(path, tensors):
    names = {"<f4": "F32", "<i8": "I64"}
    header, blobs, start = {}, [], 0
    for name, array in tensors.items():
        blob = array.tobytes()
        kind = names[array.dtype.str]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, start + len(blob)]}
        blobs.append(blob)
        start += len(blob)
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blobs))
