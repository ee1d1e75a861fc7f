"""The example runs, and what it trains learns."""

import re
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
pytest.importorskip("attnlab_torch", reason="not installed: pip install ./plugins/attnlab-torch")


def test_the_example_learns(monkeypatch, capsys):
    example = Path(__file__).parents[1] / "example.py"
    monkeypatch.setattr(sys, "argv", [str(example), "--steps", "100"])
    runpy.run_path(str(example), run_name="__main__")
    said = [
        (float(loss), float(right)) for loss, right in re.findall(r"loss (\S+), right (\S+)", capsys.readouterr().out)
    ]
    (before, chance), (after, learned) = said
    assert after < 0.8 * before
    assert learned > chance + 0.2
