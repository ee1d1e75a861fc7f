"""Every check can fail: each has a specimen that it, and no unrelated check, rejects."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from attnlab.testing import CHECKS, check_component

_spec = importlib.util.spec_from_file_location("attnlab_specimens", Path(__file__).with_name("specimens.py"))
specimens = sys.modules["attnlab_specimens"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(specimens)
SPECIMENS, SOUND = specimens.SPECIMENS, specimens.SOUND


ELSEWHERE = {
    "C031": ("torch", "PyTorch"),
    "C032": ("jax", "JAX"),
}  # checks that need a library; what is broken on NumPy may fail them too


@pytest.mark.parametrize(("code", "component", "also"), SPECIMENS, ids=[f"{c}-{s.__name__}" for c, s, _ in SPECIMENS])
def test_specimen_is_rejected(code, component, also):
    if code in ELSEWHERE:
        module, title = ELSEWHERE[code]
        pytest.importorskip(module, reason=f"{title} is not installed", exc_type=ImportError)
    report = check_component(component)
    assert not report
    failed = set(report.codes("failed"))
    assert code in failed, f"{code} lets it pass; {report}"
    assert failed <= {code} | also | set(ELSEWHERE), f"also rejected by {sorted(failed - also - {code})}: {report}"


@pytest.mark.parametrize("component", SOUND, ids=lambda c: c.__name__)
def test_sound_ones_pass(component):
    report = check_component(component)
    assert report, str(report)


def test_every_check_has_a_specimen():
    assert {code for code, _, _ in SPECIMENS} == set(CHECKS)
