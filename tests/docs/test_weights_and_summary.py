"""The examples of docs/weights.md run, and the example of docs/summary.md is what the command prints."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_examples_of_the_page_on_weights(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "weights.md").read_text(encoding="utf-8")
    blocks = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "torch" not in b]
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block, names)
    (printed,) = re.findall(r"```\n(loaded .*?)```", text, re.DOTALL)
    assert capsys.readouterr().out == printed
    assert names["optimizer"].param_groups[0]["lr"] == 0.1 and len(names["optimizer"].param_groups) == 2
    assert (tmp_path / "net.onnx").stat().st_size > 4 * 61_706


def test_the_example_of_the_page_on_summary():
    text = (DOCS / "summary.md").read_text(encoding="utf-8")
    command, printed = re.findall(r"```\n(.*?)```", text, re.DOTALL)[:2]
    arguments = command.split()
    assert arguments.pop(0) == "minidl"
    process = subprocess.run(
        [sys.executable, "-m", "minidl", *arguments], capture_output=True, text=True, check=True, cwd=DOCS.parent
    )
    assert process.stdout == printed
