"""Files that somebody made to do harm, or that a disk has spoilt: each ends with a sentence and a status, never with a traceback.

A short round is done always. `python -m pytest -m long tests/sweeps/test_hostile.py` does thousands and prints how many.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

import attnlab
from attnlab.cli import main
from attnlab.sweeps.checksums import digest, digest_of_row

SHORT = {"experiments": 40, "stores": 12, "signed": 8, "bitext": 40, "arrays": 40}
LONG = {"experiments": 2000, "stores": 500, "signed": 1000, "bitext": 2000, "arrays": 2000}
VERSIONS = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]

EXPERIMENT = """\
attnlab: 1
name: hostile
question: Is it read?
task:
  lookup: {n_keys: [4, 8], d: 4, n_train: 8, n_validation: 4, n_test: 4}
mechanism:
  similarity: [dot, {neg_l2: {sigma: [1.0, 2.0]}}]
  normaliser: softmax
model:
  aligner: {projection: 4, steps: 2}
tune: {model.learning_rate: [0.01, 0.1]}
seeds: {data: 2, model: 1}
limits: {time: 60s, memory: 2GiB, runs: 200}
metrics: [alignment_accuracy, gold_mass]
claims:
  - {say: one is better, metric: alignment_accuracy, better: {similarity: dot}, than: {similarity: neg_l2}, by: 0.3}
"""
PAIRS = "the cat ||| le chat\nTom sees it ||| Tom le voit\n ||| rien\nit is 漢字 ||| c' est é\n"
LINKS = "0-0 1-1\n0-0 1p2 2?1\n\n0-0 1-1 2-2\n"
BITS = [
    *(
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "!!binary ",
        "'",
        '"',
        "\\n",
        "\t",
        "\r",
        ": ",
        "- ",
        "|||",
    ),
    *(
        "? ",
        "| ",
        "> ",
        "%",
        "#",
        "@",
        "`",
        "\0",
        "\x85",
        "\u2028",
        "\ufeff",
        "1e999",
        ".nan",
        "2020-01-01",
        "<<: ",
        "null",
        "-",
    ),
    *(
        "0x",
        "9" * 30,
        "---\n",
        "...\n",
        "[" * 60,
        "{a: " * 60,
        "- " * 60,
        "\x1b[2J",
        "=1+1",
        "../../etc/passwd",
        "\u202e",
        "0-0 ",
    ),
]


def twisted(chance, text):
    """Text that is changed at some places, as bytes, some of which may be no UTF-8."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(text) + 1)
        lines = text.split("\n")
        i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(12):
            case 0:
                text = text[:at] + chance.choice(BITS) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 20) :]
            case 2:
                text = (
                    text[:at]
                    + chr(chance.choice((chance.randrange(32, 127), chance.randrange(0xD7FF))))
                    + text[at + 1 :]
                )
            case 3:
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case 4:
                text = "\n".join([*lines[:i], lines[j], *lines[i:]])
            case 5:
                text = text[:at]
            case _:
                words = text.replace(",", " ").split() or ["x"]
                text = text.replace(chance.choice(words), chance.choice(words), 1)
    content = text.encode("utf-8", "replace")
    if chance.random() < 0.1:
        at = chance.randrange(len(content) + 1)
        content = content[:at] + chance.randbytes(chance.randint(1, 4)) + content[at:]
    return content


def spoilt(chance, content):
    """Bytes of which some are others, missing, or twice there."""
    content = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        at, n = chance.randrange(len(content) or 1), chance.randint(1, 300)
        match chance.randrange(4):
            case 0:
                content[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del content[at : at + n]
            case 2:
                content[at:at] = content[at : at + n]
            case _:
                content[at : at + n] = chance.randbytes(n)
    return bytes(content)


@pytest.fixture
def ends_well(tmp_path, monkeypatch, capsys):
    """Ask a command about a file in this process; the status is one that is allowed, a refusal has a sentence, and nothing a traceback."""
    monkeypatch.chdir(tmp_path)

    def ask(words, allowed):
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with pytest.raises(SystemExit) as stop:
                main(words)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        assert stop.value.code in allowed, (stop.value.code, said.err)
        assert not set(said.err) & set("\x1b\x00\u202e"), "a terminal would obey"
        if stop.value.code in (2, 6):
            assert said.err.strip()
        return stop.value.code

    return ask


def counted(count, codes):
    count.notes.append(f"{sum(code in (2, 6) for code in codes)} refused")
    assert count.failures or any(code in (2, 6) for code in codes)


@pytest.mark.parametrize("rounds", VERSIONS)
def test_experiment_files(tmp_path, ends_well, tally, rounds):
    count, chance, codes = tally("P11", "yaml"), random.Random(11), []
    (tmp_path / "x.yaml").write_text(EXPERIMENT)
    ends_well(["plan", "x.yaml", "--format", "csv"], {0})
    for _ in range(rounds["experiments"]):
        content = twisted(chance, EXPERIMENT)
        (tmp_path / "x.yaml").write_bytes(content)
        with count.round():
            codes.append(ends_well(["plan", "x.yaml", "--format", "csv"], {0, 2}))
    assert not (tmp_path / "results").exists(), "a plan makes nothing"
    counted(count, codes)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store as a sweep leaves it."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "x.yaml").write_text(EXPERIMENT.replace("[1.0, 2.0]", "1.0").replace("[4, 8]", "4"))
    attnlab.sweep(folder / "x.yaml", store=folder / "s.db", executor="serial", quiet=True)
    with contextlib.closing(sqlite3.connect(folder / "s.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


VALUES = [
    None,
    b"\xff",
    "",
    "{}",
    "[]",
    "3",
    "[" * 3000,
    "\x1b[2J",
    "9" * 400,
    float("inf"),
    -1,
    2**62,
    '{"seed": "x"}',
    "ok",
]


def rewritten(chance, path):
    """A value of a row is another, with the right checksum half of the time."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        ids = [row[0] for row in db.execute("SELECT run_id FROM runs ORDER BY run_id")]
        run_id, column = chance.choice(ids), chance.choice(names[2:])
        row = dict(zip(names, db.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,)).fetchone(), strict=True))
        row[column] = chance.choice(VALUES)
        if chance.random() < 0.5:
            row["sha256"] = digest_of_row([*row.values()])
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(
                f"UPDATE runs SET {column} = ?, sha256 = ? WHERE run_id = ?", (row[column], row["sha256"], run_id)
            )


@pytest.mark.parametrize("rounds", VERSIONS)
def test_stores(tmp_path, sound, ends_well, tally, rounds):
    count, chance, codes = tally("P7", "store"), random.Random(12), []
    content = (sound / "s.db").read_bytes()
    shutil.copy(sound / "x.yaml", tmp_path)
    commands = (["results", "--format", "csv"], ["plan", "x.yaml"], ["errors"], ["store", "verify"])
    for n in range(rounds["stores"]):
        for leftover in tmp_path.glob("s.db*"):
            leftover.unlink()
        (tmp_path / "s.db").write_bytes(spoilt(chance, content) if n % 2 else content)
        if n % 2 == 0:
            rewritten(chance, tmp_path / "s.db")
        words = chance.choice(commands)
        with count.round():
            codes.append(ends_well([*words, "--store", "s.db"], {0, 1, 6} if "verify" in words else {0, 6}))
    counted(count, codes)


ODD = [
    *(None, True, 0, -1, 0.5, 2**63, 2**70, float("nan"), float("inf"), 1e308, [], {}, [[]], {"": None}, {"": {}}),
    *("", " ", "\0", "\x1b[2J", "\u202e", "=1+1", "x" * 70_000, "null", "ok", "a\nb", "|", "<script>", "../x"),
]
COMMANDS = (
    *("results --format csv", "results --summary", "results --tidy", "results -o o.xlsx", "errors --traceback"),
    *("plan x.yaml", "claims x.yaml", "claims", "compare alignment_accuracy --by similarity", "scoreboard", "referee"),
    *("report -o o.html", "store verify", "store repair -o new.db", "store export -o e.jsonl", "store gc --yes"),
    *("index x.yaml -o o.md", "plot frontier alignment_accuracy -o o.svg", "plot alignment RUN -o a.svg"),
    *("sweep x.yaml -q --executor serial", "sweep x.yaml -q --executor serial --rerun none", "preregister x.yaml"),
)
JSON_TEXTS = ("canonical", "facts", "measured", "numbers", "versions", "fingerprints")


def changed(chance, value):
    """What JSON says, with another value, name or length somewhere."""
    if isinstance(value, dict) and value and chance.random() < 0.75:
        name = chance.choice([*value])
        other = chance.choice(["seed", "model_seed", "tune", "notes", "tuned", "backend", *map(str, ODD)])
        match chance.randrange(5):
            case 0:
                return {key: one for key, one in value.items() if key != name}
            case 1:
                return {**value, other: chance.choice(ODD)}
            case _:
                return {**value, name: changed(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.75:
        at = chance.randrange(len(value))
        return [*value[:at], *chance.choice([[], [value[at]] * 2, [changed(chance, value[at])]]), *value[at + 1 :]]
    return chance.choice(ODD)


def signed_otherwise(chance, path):
    """A row of runs, or of what was registered, says something else, with the right checksum; the name of a run."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        ids = [row[0] for row in db.execute("SELECT run_id FROM runs ORDER BY run_id")]
        run_id, table = chance.choice(ids), "registered" if chance.random() < 0.15 else "runs"
        names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        where = "WHERE run_id = ?" if table == "runs" else "WHERE ? != ''"
        row = dict(zip(names, db.execute(f"SELECT * FROM {table} {where}", (run_id,)).fetchone(), strict=True))
        column = chance.choice([*(JSON_TEXTS if table == "runs" else ["text"]), *names[2:]])
        if column in (*JSON_TEXTS, "text") and chance.random() < 0.8:
            row[column] = json.dumps(changed(chance, json.loads(row[column])))
        elif column != "sha256":
            row[column] = chance.choice([*VALUES, *(one for one in ODD if isinstance(one, str))])
        row["sha256"] = digest_of_row([*row.values()]) if table == "runs" else digest([*row.values()][:-1])
        with contextlib.suppress(sqlite3.IntegrityError, OverflowError):
            db.execute(f"UPDATE {table} SET {column} = ?, sha256 = ? {where}", (row[column], row["sha256"], run_id))
        return run_id


@pytest.mark.parametrize("rounds", VERSIONS)
def test_stores_that_say_something_else(tmp_path, sound, ends_well, tally, rounds):
    """With checksums that are right: refused with the file, or shown without harm."""
    count, chance, codes = tally("P7", "signed"), random.Random(15), []
    for _ in range(rounds["signed"]):
        for leftover in tmp_path.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for name in ("x.yaml", "s.db"):
            shutil.copy(sound / name, tmp_path)
        run_id = signed_otherwise(chance, tmp_path / "s.db")
        for words in chance.sample(COMMANDS, 2):
            allowed = {0, 2, 6} if words.startswith(("compare", "plot")) else {0, 1, 6}
            with count.round():
                codes.append(ends_well([*words.replace("RUN", run_id).split(), "--store", "s.db"], allowed))
    counted(count, codes)


@pytest.mark.parametrize("rounds", VERSIONS)
def test_bitext(tmp_path, ends_well, tally, rounds):
    count, chance, codes = tally("-", "bitext"), random.Random(13), []
    (tmp_path / "pairs").write_text(PAIRS)
    (tmp_path / "links").write_text(LINKS)
    ends_well(["align", "pairs", "--gold", "links"], {0})
    for n in range(rounds["bitext"]):
        (tmp_path / "pairs").write_bytes(twisted(chance, PAIRS) if n % 2 else PAIRS.encode())
        (tmp_path / "links").write_bytes(LINKS.encode() if n % 2 else twisted(chance, LINKS))
        with count.round():
            codes.append(ends_well(["align", "pairs", "--gold", "links"], {0, 2}))
    counted(count, codes)


def arrays(chance):
    """An .npz, sound or of arrays that do not fit, or are none."""
    rng = np.random.default_rng(chance.randrange(2**32))
    given = {name: rng.normal(size=(12, 3, 4)) for name in ("Q", "K", "V")} | {"gold": np.tile(np.eye(3), (12, 1, 1))}
    if chance.random() < 0.6:
        name = chance.choice([*given, "mask", "target", "possible", "ids", "more"])
        strange = [
            *(np.nan, np.inf, -1, "word", b"x", True, 2**63, 1j, np.datetime64("2026-01-01")),
            *(np.empty(0), np.empty((12, 0, 4)), np.zeros((12, 3, 5)), np.zeros((3, 12)), np.zeros((12, 3, 3), "U3")),
            *(
                np.full((12, 3, 4), np.nan),
                np.full((12, 3, 4), 1e308),
                np.zeros((12, 3), int) - 7,
                np.zeros((12, 3, 4), "m8[s]"),
            ),
            *(np.zeros(12, [("a", "f8")]), np.zeros((12, 3, 4), "V8"), np.zeros((1,) * 32)),
        ]
        given[name] = np.asarray(chance.choice(strange))
    if chance.random() < 0.2:
        given.pop(chance.choice([*given]))
    file = io.BytesIO()
    np.savez(file, **given)
    content = file.getvalue()
    match chance.randrange(4):
        case 0:
            content = spoilt(chance, content)
        case 1:  # the header says something else than what follows
            file = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
                for member in old.namelist():
                    raw = old.read(member)
                    new.writestr(
                        member, raw[:10] + spoilt(chance, raw[10:128]) + raw[128:] if chance.random() < 0.5 else raw
                    )
            content = file.getvalue()
    return content


@pytest.mark.parametrize("rounds", VERSIONS)
def test_arrays(tmp_path, ends_well, tally, rounds):
    """Read by a run, which fails with a reason; the chance level is read by the table as well."""
    count, chance, codes = tally("-", "arrays"), random.Random(14), []
    for _ in range(rounds["arrays"]):
        (tmp_path / "a.npz").write_bytes(arrays(chance))
        with count.round():
            codes.append(told(tmp_path / "a.npz"))
    counted(count, codes)


def told(path: Path) -> int:
    """0 if the examples are read, 2 if they are refused with a sentence."""
    from attnlab.tasks.arrays import Arrays

    try:
        splits = Arrays(str(path)).make(np.random.default_rng(0))
    except (ValueError, TypeError) as refused:
        said = str(refused)
    else:
        assert all(np.isfinite(getattr(splits.train, name)).all() for name in "QKV")
        return 0
    assert str(path) in said, said
    return 2
