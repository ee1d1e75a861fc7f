"""attnlab.testing itself: inputs that vary, statuses kept apart, targets, and the pytest decorator."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
from commands import attnlab_command

import attnlab
from attnlab.errors import AmbiguousName, AttnlabError, ComponentError, UnknownName
from attnlab.parts.normalisers import Softmax, Sparsemax
from attnlab.parts.similarities import Dot, General
from attnlab.plugins import configure
from attnlab.tasks.recall import Lookup
from attnlab.testing import CHECKS, ContractBroken, Report, check_component, checks_for, resolve_target
from attnlab.testing.subject import Subject
from attnlab.testing.target import find_target


class Stranger(attnlab.Similarity):
    """From elsewhere, and without the documentation that attnlab's own have."""

    name = "stranger"

    def score(self, Q, K):
        return -Dot().score(Q, K)


class Lying(attnlab.Normaliser):
    """Half a softmax that says that its rows sum to one."""

    name = "lying"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        return Softmax().normalise(S) / 2


# -- inputs ---------------------------------------------------------------------------------------------------------------
def test_draws_vary_and_repeat():
    draws = list(Subject(Dot).draws("C026", n=6))
    assert len({(d.Q.shape, d.K.shape, d.V.shape) for d in draws}) >= 5
    assert len({round(float(d.Q.sum()), 12) for d in draws}) == 6
    assert all(d.Q.std() > 0.1 and d.K.std() > 0.1 for d in draws), "no constant inputs"
    assert any(not d.M.all() for d in draws)
    assert all(d.M.any(axis=-1).all() for d in draws)
    again = list(Subject(Dot).draws("C026", n=6))
    assert all(np.array_equal(a.Q, b.Q) and np.array_equal(a.M, b.M) for a, b in zip(draws, again, strict=True))


@pytest.mark.parametrize("other", [(General, "C026", 0), (Dot, "C025", 0), (Dot, "C026", 1)])
def test_another_component_check_or_seed_draws_other_inputs(other):
    component, code, seed = other
    one = next(Subject(Dot).draws("C026"))
    two = next(Subject(component, seed).draws(code))
    assert one.Q.shape != two.Q.shape or not np.array_equal(one.Q, two.Q)


def test_learned_arrays_stand_at_no_special_value():
    subject = Subject(attnlab.get("similarity", "additive"))
    draw = next(subject.draws("x"))
    assert np.all(subject.params(draw)["similarity"]["b"] != 0)


# -- reports ----------------------------------------------------------------------------------------------------------------
def test_a_sound_component():
    report = check_component(Sparsemax)
    assert report
    assert report.raise_for_failures() is None
    assert {o.status for o in report} == {"passed", "skipped"}
    assert str(report).startswith(f"ran {report.n_ran}, passed {report.n_ran}, warned 0, skipped ")
    assert "it has no settings" in str(report)


def test_a_failure_is_told_with_its_reason():
    report = check_component(Lying)
    assert not report
    assert "N201" in report.codes("failed")
    with pytest.raises(ContractBroken, match=r"failed  N201 lying: .*\n.*rows_sum_to_one = True is declared, but not"):
        report.raise_for_failures()


def test_documentation_only_warns_strangers():
    report = check_component(Stranger)
    assert report
    assert report.codes("warned") == ["C002", "C003", "S101"]
    assert "warned  C003 stranger" in str(report)


PART = '''
import numpy as np
from attnlab import {interface}, hookimpl, namespace


class Mine({interface}):
    """Mine."""

    name = "mine"
    {flags}

    def {verb}:
        {body}


@hookimpl
def {hook}():
    return [Mine]
'''


def report_on(tmp_path, monkeypatch, kind, body, arguments=None, flags=""):
    """The report on a part whose verb has this body, from a file, where the body stands on line 13."""
    interface, verb, usual, hook = {
        "normaliser": ("Normaliser", "normalise", "S", "attnlab_normalisers"),
        "similarity": ("Similarity", "score", "Q, K", "attnlab_similarities"),
        "modifier": ("Modifier", "modify", "S", "attnlab_modifiers"),
    }[kind]
    monkeypatch.chdir(tmp_path)
    signature = f"{verb}(self, {arguments or usual})"
    text = PART.format(interface=interface, flags=flags, verb=signature, body=body, hook=hook)
    (tmp_path / "my.py").write_text(text)
    assert text.splitlines()[12].strip() == body.splitlines()[0]
    (cls,) = resolve_target("my.py")
    return check_component(cls)


SUMS = "rows_sum_to_one = nonnegative = shift_invariant = True"


@pytest.mark.parametrize(
    ("body", "arguments", "root", "more"),
    [
        ("return namespace(scores).softmax(scores)", "scores", "C001", 20),  # a wrong signature
        ("return namespace(S).softmax(S)[..., :1]", None, "C014", 20),  # wrong shapes
        ("return namespace(S).softmax(S).mT", None, "C014", 20),
        ("return S * float('nan')", None, "C008", 15),
        ("S[..., 0] = 0.0; return namespace(S).softmax(S)", None, "C013", 8),
    ],
)
def test_one_cause_is_told_once(tmp_path, monkeypatch, body, arguments, root, more):
    report = report_on(tmp_path, monkeypatch, "normaliser", body, arguments, SUMS)
    said = str(report)
    assert said.count("\nfailed ") == 1
    assert f"\nfailed  {root} mine: " in said
    folded = [o for o in report if o.cause]
    assert {o.cause for o in folded} == {root}
    assert len(folded) >= more
    assert f"and {len(folded)} more, for the same reason: {', '.join(o.code for o in folded)}" in said
    assert f"failed {len(folded) + 1} (for 1 reason)" in said
    assert len(report.codes("failed")) == len(folded) + 1


def test_two_causes_are_told_twice(tmp_path, monkeypatch):
    body = "return np.expm1(namespace(S).softmax(S))"
    report = report_on(tmp_path, monkeypatch, "normaliser", body, None, SUMS)
    assert [o.code for o in report if o.status == "failed" and not o.cause][:1] == ["C009"]
    assert "N201" in [o.code for o in report if o.status == "failed" and not o.cause]


def test_nan_equals_nothing(tmp_path, monkeypatch):
    """Weights of NaN were told to be shift invariant, to sum to one and to be permuted like the keys, "on every draw"."""
    report = report_on(tmp_path, monkeypatch, "normaliser", "return S * float('nan')")
    assert "on every draw" not in str(report)
    assert {"C008", "C019", "N201", "N202", "N203", "N204"} <= set(report.codes("failed"))
    report = report_on(tmp_path, monkeypatch, "similarity", "return (Q @ K.mT) * float('nan')")
    assert "on every draw" not in str(report)
    assert {"C008", "C019", "S101", "S102"} <= set(report.codes("failed"))
    report = report_on(tmp_path, monkeypatch, "modifier", "return S * float('nan')")
    assert "on every draw" not in str(report)
    assert {"C008", "O551", "O552", "O553"} <= set(report.codes("failed"))


def test_softmax_under_another_name_is_reported(tmp_path, monkeypatch):
    again = report_on(tmp_path, monkeypatch, "normaliser", "return namespace(S).softmax(S)", None, SUMS)
    assert "N208" in again.codes("warned")
    assert "its weights equal softmax's on every draw" in str(again)
    other = report_on(tmp_path, monkeypatch, "normaliser", "return namespace(S).softmax(2 * S)", None, SUMS)
    assert "N208" in other.codes("passed")


# -- plain NumPy ------------------------------------------------------------------------------------------------------------
MET = "my.py:13: a NumPy function met a traced array; take xp = namespace(Q, K)"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return Q @ K.mT / np.linalg.norm(Q)", f"{MET}, and xp.linalg.vector_norm instead of norm"),
        ("return np.einsum('...qd,...kd->...qk', Q, K)", MET),
        ("return np.maximum(Q @ K.mT, 0.0)", f"{MET}, and xp.maximum instead of maximum"),
        ("return np.where(Q @ K.mT > 0, Q @ K.mT, 0.0)", MET),
        ("return Q @ np.swapaxes(K, -1, -2)", MET),
        ("return np.matmul(Q, K.mT)", MET),
        ("return Q @ np.array([K, K])[0].mT", MET),
        ("return np.stack([Q, Q])[0] @ K.mT", MET),
        ("return (np.zeros_like(Q) + Q) @ K.mT", MET),
        ("return np.add.reduce(Q[..., :, None, :] * K[..., None, :, :], axis=-1)", MET),
        ("import scipy.special as sp; return sp.expit(Q @ K.mT)", f"{MET}, and xp.sigmoid instead of expit"),
        ("import scipy.special as sp; return sp.softmax(Q @ K.mT, axis=-1)", MET),
        ("import math; return Q @ K.mT * math.exp((Q * Q).sum())", "my.py:13: a traced array was taken for a Python number"),
        ("return Q @ K.mT * float((Q * Q).sum())", "my.py:13: a traced array was taken for a Python number"),
        ("S = Q @ K.mT; S[..., 0] = 0.0; return S", "my.py:13: a traced array cannot be assigned into; make a new one, xp.where("),
        ("S = np.zeros((Q @ K.mT).shape); S += Q @ K.mT; return S", "my.py:13: a traced array cannot be assigned into"),
        ("S = np.zeros((Q @ K.mT).shape); S[...] = Q @ K.mT; return S", MET),
        ("return (Q @ K.mT).copy()", "my.py:13: a traced array has no .copy; take functions from xp = namespace(Q, K)"),
    ],
)  # fmt: skip
def test_mistakes_with_plain_numpy_say_where_and_what_to_do(tmp_path, monkeypatch, body, said):
    report = report_on(tmp_path, monkeypatch, "similarity", body)
    assert not report
    assert said in str(report)
    assert "ArrayBox" not in str(report)
    assert "ufunc" not in str(report)


def test_numpy_may_do_what_has_no_gradient(tmp_path, monkeypatch):
    body = "return Q @ K.mT * np.sqrt(2.0) / np.sqrt(np.float64(K.shape[-1])) + np.arange(1.0) * np.ndim(Q.shape)"
    report = report_on(tmp_path, monkeypatch, "similarity", body)
    assert "C009" in report.codes("passed")


def test_outside_attnlab_boxes_are_as_autograd_made_them():
    """Who uses autograd beside attnlab finds it as it was."""
    code = "import numpy as np, autograd, attnlab.arrays\n"
    code += "print(autograd.grad(lambda x: np.where(x > 0, x, 0.0).sum() + np.exp(x).sum())(np.array([1.0, -1.0])).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().startswith("[3.71828"), done.stderr


@pytest.mark.parametrize(
    ("kind", "body", "hint"),
    [
        ("normaliser", "xp = namespace(S); return 1 / (1 + xp.exp(-S))", "1 / (1 + xp.exp(-S)) has NaN for a gradient"),
        ("normaliser", "xp = namespace(S); return 1 / (1 + xp.exp(-S))", "take xp.sigmoid(S)"),
        (
            "normaliser",
            "xp = namespace(S); return xp.softmax(S) + xp.asarray(0.0)",
            "xp.asarray(0.0) is float64 whatever",
        ),
        (
            "normaliser",
            "xp = namespace(S); return xp.softmax(S - xp.mean(S, axis=-1, keepdims=True))",
            "xp.mean(S, axis=-1, keepdims=True) reads the masked scores too",
        ),
        (
            "normaliser",
            "xp = namespace(S); return xp.softmax(S / (1 + S.std(axis=-1)[..., None]))",
            "S.std(axis=-1) reads the masked scores too",
        ),
        (
            "similarity",
            "xp = namespace(Q, K); return Q @ K.mT / (1 + xp.sqrt(xp.sum(Q * Q, axis=-1, keepdims=True)))",
            "take xp.linalg.vector_norm",
        ),
    ],
)
def test_the_commonest_slips_are_named_with_their_line(tmp_path, monkeypatch, kind, body, hint):
    said = str(report_on(tmp_path, monkeypatch, kind, body))
    assert hint in said
    assert "; my.py:13: " in said


def test_nothing_ran_is_no_success():
    report = Report([o for o in check_component(General) if o.status == "skipped"])
    assert len(report) > 0
    assert not report
    with pytest.raises(ContractBroken, match="nothing ran"):
        report.raise_for_failures()
    assert not Report()


class Needy(attnlab.Similarity):
    """Stretched dot products."""

    name = "needy"

    def __init__(self, scale):
        self.scale = scale

    def score(self, Q, K):
        return self.scale * (Q @ K.mT)


def test_a_class_that_needs_settings_is_not_checked_and_that_is_said(tmp_path):
    said = "Needy needs the settings scale: check an object instead, check_component(Needy(scale=...))"
    assert said in str(check_component(Needy))
    assert check_component(Needy(2.0))
    (tmp_path / "mine.py").write_text("import attnlab\n\n\n" + inspect.getsource(Needy))
    done = attnlab_command("check", "mine.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"similarity needy: only its class was checked: {said}")


def test_frame_has_a_row_a_check():
    frame = (check_component(Lying) + check_component(Dot)).to_frame()
    assert list(frame) == ["component", "kind", "code", "statement", "status", "reason"]
    assert len(frame) == len(checks_for("normaliser")) + len(checks_for("similarity"))
    assert set(frame["component"]) == {"lying", "dot"}
    passed = frame[frame["status"] == "passed"]
    assert (passed.loc[~passed["code"].isin(["C031", "C032"]), "reason"] == "").all()


def test_codes_and_statements():
    letters = {
        "similarity": "S1",
        "normaliser": "N2",
        "aggregator": "A3",
        "position": "P4",
        "mask": "M5",
        "modifier": "O5",
    }
    letters |= {"task": "T6", "metric": "E7", "model": "D8", "executor": "X9", "kernel": "K9"}
    for code, check in CHECKS.items():
        assert code == check.code
        assert check.statement.endswith("."), code
        assert len(check.statement) <= 130, code
        if code[0] != "C":
            assert letters[check.kinds[0]] == code[:2]
    assert len({c.statement for c in CHECKS.values()}) == len(CHECKS)


def test_only_some_checks():
    assert [o.code for o in check_component(Dot, only=["C014", "S101", "N201"])] == ["C014", "S101"]
    with pytest.raises(UnknownName, match="did you mean S101"):
        check_component(Dot, only=["S1O1"])


@pytest.mark.parametrize("thing", [object(), int, Dot.score, "dot", None])
def test_what_is_no_component_is_refused(thing):
    with pytest.raises(ComponentError, match="only a component can be checked"):
        check_component(thing)


def test_an_object_is_checked_with_its_settings():
    class Late(Lookup):
        __doc__ = Lookup.__doc__

    report = check_component(Late(n_keys=3, n_train=8, n_test=4), only=["T605", "T606"])
    assert report.codes("passed") == ["T605", "T606"]


# -- pytest -----------------------------------------------------------------------------------------------------------------
def test_in_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from attnlab import Similarity\n"
        "from attnlab.testing import parametrize_with_checks\n"
        "class Mine(Similarity):\n"
        "    '''Mine.'''\n"
        "    name = 'mine'\n"
        "    symmetric = False\n"
        "    def score(self, Q, K):\n"
        "        return Q @ K.mT\n"
        "@parametrize_with_checks([Mine])\n"
        "def test_contract(component, check):\n"
        "    assert component is Mine\n"
        "    check(component)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    report = check_component(Stranger)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "test_contract[similarity:mine-S101]" in done.stdout
    assert "symmetric = False is declared, but" in done.stdout
    assert "it has nothing to learn" in done.stdout
    assert f"{len(report.codes('skipped'))} skipped, 2 warnings" in done.stdout


def test_pytest_is_loaded_only_when_asked_for():
    code = "import sys, attnlab.testing as t; from attnlab.parts.masks import Causal\nt.check_component(Causal)\n"
    code += "print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


# -- targets ----------------------------------------------------------------------------------------------------------------
def test_targets(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from attnlab import Mask, Similarity\nfrom attnlab.parts.similarities import Dot\n"
        "class A(Mask):\n    name = 'a'\n    def allow(self, q_index, k_index): ...\n"
        "class B(Similarity):\n    name = 'b'\n    def score(self, Q, K): ...\n"
    )
    assert resolve_target("dot") == resolve_target("attnlab:dot") == resolve_target("similarity:dot") == [Dot]
    assert resolve_target("attnlab.parts.similarities:Dot") == [Dot]
    assert [c.__name__ for c in resolve_target(str(file))] == ["A", "B"]
    assert [c.__name__ for c in resolve_target(f"{file}:B")] == ["B"]
    assert {Dot, Softmax, Lookup} <= set(resolve_target("attnlab"))


def test_a_name_that_clashes_is_no_target(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from attnlab import Similarity, hookimpl\n"
        "class B(Similarity):\n    name = 'dot'\n    def score(self, Q, K): ...\n"
        "@hookimpl\ndef attnlab_similarities():\n    return [B]\n"
    )
    configure(files=[str(tmp_path / "mine.py")])
    try:
        assert resolve_target("attnlab:dot") == [Dot]
        with pytest.raises(AmbiguousName, match="'attnlab:dot'"):
            resolve_target("dot")
    finally:
        configure()


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("numpy", AttnlabError, "no entry point in the group 'attnlab'"),
        ("textwrap", AttnlabError, "write textwrap:Class"),
        ("dott", UnknownName, "did you mean dot"),
        ("attnlab:dott", UnknownName, "did you mean attnlab:dot"),
        ("similarity:softmax", UnknownName, "no component 'similarity:softmax'"),
        ("attnlab.parts.similarities:Dott", UnknownName, "did you mean Dot"),
        ("attnlab.nowhere:Dot", AttnlabError, "cannot be imported: ModuleNotFoundError"),
        ("nowhere.py", UnknownName, "no such file: nowhere.py"),
        ("", UnknownName, "no component, plugin or file ''"),
    ],
)
def test_wrong_targets(target, error, message):
    with pytest.raises(error, match=message):
        resolve_target(target)


def test_files_that_cannot_be_checked(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("from attnlab.parts.similarities import Dot\n")
    with pytest.raises(AttnlabError, match="cannot be loaded: ZeroDivisionError"):
        resolve_target(str(tmp_path / "broken.py"))
    with pytest.raises(UnknownName, match="defines no component class"):
        resolve_target(str(tmp_path / "empty.py"))


# -- what loading finds -----------------------------------------------------------------------------------------------
MINE = """
from attnlab import Mask, Similarity, hookimpl


class Mine(Similarity):
    'Mine.'

    name = "mine"

    def score(self, Q, K):
        return Q @ K.mT


@hookimpl
def attnlab_similarities():
    return [Mine]
"""
OTHER = """

class Other(Similarity):
    name = "other"

    def score(self, Q, K):
        return Q @ K.mT
"""
OTHER_MASK = (
    "\n\nclass Other(Mask):\n    name = 'other'\n\n    def allow(self, q_index, k_index):\n        return True\n"
)


def checked(*args, cwd):
    done = attnlab_command(*args, cwd=cwd)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (MINE.replace("similarities", "similarity"), "unknown hook 'attnlab_similarity' (did you mean attnlab_similarities"),
        (
            MINE.replace("similarities", "similarity").replace("@hookimpl\n", ""),
            "attnlab_similarity is no hook (did you mean attnlab_similarities?), and is not marked",
        ),
        (MINE.replace("attnlab_similarities", "similarities"), "unknown hook 'similarities' (did you mean attnlab_similarities"),
        (MINE.replace("@hookimpl\n", ""), "attnlab_similarities is not marked: write @hookimpl above it"),
        (MINE.replace("similarities()", "similarities(config)"), "config"),
        (MINE.replace("similarities", "normalisers"), "Mine must derive from attnlab.Normaliser to be a normaliser"),
        (MINE.replace("[Mine]", "[Mine()]"), "a hook gives classes, not objects"),
        (MINE.replace("[Mine]", "[][1]"), "attnlab_similarities: IndexError"),
        (MINE.replace("[Mine]", "[Mine, Mine]"), "gives the similarity 'mine' twice"),
        (MINE.replace('"mine"', '"dot"'), "the similarity name 'dot' is given by file and attnlab"),
        (MINE.replace("[Mine]", "[]"), "Mine is given by no hook, so no experiment can name it: add it to what attnlab_sim"),
        (MINE.partition("@hookimpl")[0], "it has no hook, so it gives nothing; it defines Mine"),
        (MINE + OTHER, "Other is given by no hook"),
        (MINE + OTHER_MASK, "Other is given by no hook, so no experiment can name it: write @attnlab.hookimpl above def attnlab_masks()"),
    ],
)  # fmt: skip
def test_check_does_what_loading_does(tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(source)
    try:
        found = find_target("my.py")
    finally:
        configure()
    (problem,) = found.problems  # one cause, one failure
    assert problem.startswith("my.py: ")
    assert said in problem
    assert next(cls.name for cls in found.classes) in ("mine", "dot")


def test_what_loading_finds_is_a_failure(tmp_path):
    (tmp_path / "my.py").write_text(MINE.replace("similarities", "similarity"))
    done = checked("check", str(tmp_path / "my.py"), cwd=tmp_path)
    assert done.returncode == 1
    report, *_, problem = done.stdout.splitlines()
    assert problem.startswith(f"failed  {tmp_path}/my.py: unknown hook 'attnlab_similarity' (did you mean ")
    assert report.startswith("similarity mine: ran ")
    assert "failed 0" in report


def problems_of(target):
    try:
        return find_target(target).problems
    finally:
        configure()


def test_a_class_of_a_file_that_does_not_give_it(tmp_path):
    (tmp_path / "my.py").write_text(MINE + OTHER)
    assert len(problems_of(str(tmp_path / "my.py:Other"))) == 1
    assert problems_of(str(tmp_path / "my.py:Mine")) == []


def test_a_file_that_can_be_loaded_has_no_problem(tmp_path):
    base = "\n\nclass _Base(Mine):\n    pass\n\n\nclass Half(_Base):\n    name = 'half'\n"
    (tmp_path / "my.py").write_text(MINE + base + "\n\n@hookimpl\ndef attnlab_masks():\n    return []\n")
    (problem,) = problems_of(str(tmp_path / "my.py"))
    assert "Half is given by no hook" in problem
    (tmp_path / "my.py").write_text(MINE + "\n\ndef attnlab_helper():\n    return 1\n")
    assert problems_of(str(tmp_path / "my.py")) == []
    assert [cls.name for cls in resolve_target(str(tmp_path / "my.py"))] == ["mine"]
    assert "mine" not in attnlab.names("similarity"), "resolve_target leaves no file loaded"


def test_a_class_that_is_refused_is_told_once(tmp_path):
    (tmp_path / "my.py").write_text(MINE.replace("Q, K)", "Q, Keys)"))
    done = checked("check", "my.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("unknown argument 'Keys'") == 1


def test_nothing_to_check(tmp_path):
    event = "from attnlab import hookimpl\n\n\n@hookimpl\ndef attnlab_run_finished(run, result):\n    pass\n"
    (tmp_path / "my.py").write_text(event)
    assert "it listens to attnlab_run_finished" in checked("check", "my.py", cwd=tmp_path).stderr
    assert checked("list", "mask", "--plugin", "my.py", cwd=tmp_path).stderr == ""
    (tmp_path / "my.py").write_text("x = 1\n")
    done = checked("check", "my.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "it has no hook, so it gives nothing" in done.stderr


def test_a_plugin_file_that_gives_nothing_is_told_by_every_command(tmp_path):
    (tmp_path / "my.py").write_text(MINE.partition("@hookimpl")[0])
    task = "task: {lookup: {n_train: 4, n_test: 4}}\nmodel: {aligner: {steps: 1}}\n"
    (tmp_path / "x.yaml").write_text(f"attnlab: 1\nquestion: '?'\n{task}")
    for command in (("sweep", "x.yaml", "--dry-run"),):
        done = checked(*command, "--plugin", "my.py", cwd=tmp_path)
        assert "attnlab: --plugin my.py: it has no hook, so it gives nothing; it defines Mine" in done.stderr
    assert "it gives nothing" in checked("plugins", "--plugin", "my.py", "--format", "csv", cwd=tmp_path).stdout


def test_an_installed_distribution_without_an_entry_point(tmp_path):
    site = tmp_path / "site"
    for name, points in (("attnlab-none", ""), ("attnlab-near", "[attnlabs]\nnear = attnlab_near\n")):
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name.replace('-', '_')}.py,,\n")
        (info / "entry_points.txt").write_text(points)
        (site / f"{name.replace('-', '_')}.py").write_text(MINE)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def check(target):
        return attnlab_command("check", target, cwd=tmp_path, env=env)

    for target in ("attnlab-none", "attnlab_none", "Attnlab.None"):
        done = check(target)
        assert done.returncode == 2
        assert "attnlab-none 1.0 is installed and gives attnlab nothing, because it has no entry point" in done.stderr
        assert "[project.entry-points.attnlab]" in done.stderr
        assert "did you mean" not in done.stderr
    assert "those it has are in the group attnlabs" in check("attnlab-near").stderr


# -- other libraries ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("code", "module", "title"), [("C031", "torch", "PyTorch"), ("C032", "jax", "JAX")])
def test_the_report_says_on_which_library_a_part_ran(code, module, title):
    library = pytest.importorskip(module, reason=f"{title} is not installed", exc_type=ImportError)
    report = check_component(Dot, only=[code])
    assert report.codes("passed") == [code]
    said = str(report).splitlines()[1]
    assert said.startswith(f"also on {title} {library.__version__} (cpu")
    assert said.endswith("): values and gradients, float64 and float32")
    hard = check_component(attnlab.get("normaliser", "hardmax"), only=[code])
    assert str(hard).endswith("): values, float64 and float32")


@pytest.mark.parametrize(("code", "module", "title"), [("C031", "torch", "PyTorch"), ("C032", "jax", "JAX")])
def test_a_library_that_is_not_there_is_not_run_and_that_is_said(code, module, title, tmp_path):
    """In a fresh process that cannot find it, whether it is installed or not."""
    script = f"""
import sys
sys.modules[{module!r}] = None
from attnlab.parts.similarities import Dot
from attnlab.testing import check_component
report = check_component(Dot, only=[{code!r}, "C001"])
assert report.codes("skipped") == [{code!r}] and report.codes("passed") == ["C001"]
print(report)
assert not check_component(Dot, only=[{code!r}]), "nothing ran"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"ran 1, passed 1, warned 0, skipped 1 ({title} is not installed), failed 0"
