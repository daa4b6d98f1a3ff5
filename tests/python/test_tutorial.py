"""The Python of `suites/tutorial.md`, as it is printed."""

import ast
import shutil

from conftest import ROOT


def test_the_notebook_of_the_tutorial_shows_a_feature(small_run, tmp_path, monkeypatch, capsys):
    text = (ROOT / "suites" / "tutorial.md").read_text(encoding="utf-8")
    blocks = [rest.split("```")[0] for rest in text.split("```python\n")[1:]]
    assert len(blocks) == 1
    shutil.copytree(small_run.folder, tmp_path / "results" / "mine")
    monkeypatch.chdir(tmp_path)
    cell = ast.parse(blocks[0])
    last = cell.body.pop()
    assert isinstance(last, ast.Expr)
    names = {}
    exec(compile(cell, "tutorial", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "tutorial", "eval"), names)
    assert "<iframe" in shown._repr_html_()
    assert "beyond_token" in capsys.readouterr().out
