"""`run`: progress, failures, Ctrl-C, and the same bytes as the command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import LESS

import autointerp

SET = [word for field, value in LESS.items() for word in ("--set", f"{field}={value}")]


def command(*arguments, **options):
    """The command of the wheel, as a process."""
    words = [sys.executable, "-m", "autointerp", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, **options)


def test_a_run_has_the_bytes_of_the_command(small_run, suite, tmp_path):
    done = command("run", suite, "--out", tmp_path / "out", "--offline", "--quiet", *SET)
    assert done.returncode == 0, done.stderr
    for name in ["summary.json", "scores.jsonl", "table.md"]:
        assert (tmp_path / "out" / name).read_bytes() == (small_run.folder / name).read_bytes(), name


@pytest.mark.skipif("AUTOINTERP_PROGRAM" not in os.environ, reason="AUTOINTERP_PROGRAM names no built program")
def test_a_run_has_the_bytes_of_the_built_program(small_run, suite, tmp_path):
    words = [os.environ["AUTOINTERP_PROGRAM"], "run", suite, "--out", tmp_path / "out", "--offline", "--quiet", *SET]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    for name in ["summary.json", "scores.jsonl"]:
        assert (tmp_path / "out" / name).read_bytes() == (small_run.folder / name).read_bytes(), name


def test_a_suite_may_be_a_mapping_and_progress_a_function(small_run, tmp_path):
    events = []
    content = {
        "name": "mine",
        "seed": 3,
        "corpus": {"fit_tokens": 10_000, "eval_fragments": 600},
        "hooks": ["blocks.1.hook_resid_post"],
        "methods": [{"kind": "random"}, {"kind": "neuron"}],
        "features": {"per_cell": 3},
        "statistics": {"reference": "random", "resamples": 1_000, "permutations": 1_000},
    }
    found = autointerp.run(content, seed=4, out=tmp_path / "mine", offline=True, progress=events.append)
    assert found.folder == tmp_path / "mine"
    assert {"work", "overall", "note"} <= {event["event"] for event in events}
    work = next(event["data"] for event in events if event["event"] == "work")
    assert work["stage"] and 0 <= work["done"] <= work["total"]
    with pytest.raises(autointerp.Error) as raised:
        autointerp.run({**content, "metods": []}, out=tmp_path / "mine", progress="none")
    assert raised.value.exit_code == 2 and "`metods`" in str(raised.value)


def test_a_failure_has_the_message_and_the_exit_code_of_the_command(suite, tmp_path):
    with pytest.raises(autointerp.Error) as raised:
        autointerp.run(suite, set={"features.per_cel": 5}, out=tmp_path / "out", progress="none")
    done = command("run", suite, "--set", "features.per_cel=5", "--out", tmp_path / "out")
    assert raised.value.exit_code == done.returncode == 2
    printed = done.stderr.removeprefix("error: ").rstrip("\n").splitlines()
    assert str(raised.value).splitlines() == printed
    assert raised.value.hints
    with pytest.raises(autointerp.Error, match="expected auto, plain, json or none") as raised:
        autointerp.run(suite, progress="loud")
    assert raised.value.exit_code == 2
    with pytest.raises(autointerp.Error, match="no `summary.json`") as raised:
        autointerp.load(tmp_path)
    assert raised.value.exit_code == 6


def test_an_exception_of_the_callback_stops_the_run(suite, tmp_path):
    def refuse(event):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        autointerp.run(suite, set=LESS, out=tmp_path / "out", offline=True, progress=refuse)
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to this process")
def test_ctrl_c_stops_and_the_same_call_resumes(small_run, suite, tmp_path):
    begun = threading.Event()

    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    def told(event):
        if event["event"] == "work":
            begun.set()
            time.sleep(0.05)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        autointerp.run(suite, set=LESS, out=tmp_path / "out", offline=True, progress=told)
    again = autointerp.run(suite, set=LESS, out=tmp_path / "out", offline=True, progress="none")
    assert (again.folder / "summary.json").read_bytes() == (small_run.folder / "summary.json").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a process")
def test_ctrl_c_ends_the_command_with_130(suite, tmp_path):
    words = [sys.executable, "-m", "autointerp", "run", suite, "--out", tmp_path / "out", "--offline"]
    words += ["--progress", "json", "--fresh"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if '"work"' in line:
                break
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130, told
    assert "Traceback" not in told and "to resume: autointerp run" in told


def test_a_chat_template_is_rendered_in_a_process_of_its_own():
    message = {"role": "user", "content": "hello"}
    trial = {"source": "{{ messages[0].content }}!", "tokens": {}, "messages": [message]}
    words = [*autointerp._command(), "try-chat-template"]
    done = subprocess.run(words, input=json.dumps(trial), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"Ok": "hello!"}
    assert subprocess.run(words, input="no trial", text=True).returncode == 2


def test_the_command_says_what_the_program_says(tmp_path):
    script = "autointerp.exe" if sys.platform == "win32" else "autointerp"
    installed = os.path.join(os.path.dirname(sys.executable), script)
    version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True).stdout
    assert version == command("--version").stdout and version.startswith("autointerp ")
    assert command("report", tmp_path).returncode == 6
    assert command("no-such-verb").returncode == 2
