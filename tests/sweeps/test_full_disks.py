"""Disks that are full: a file is written whole or not at all, the message names it, and what was stored stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from commands import attnlab_command

IDEA = """\
attnlab: 1
question: Is there room?
task: {lookup: {n_keys: 4, d: 4, n_train: 16, n_validation: 4, n_test: 8}}
mechanism: {similarity: [dot, cosine]}
model: {aligner: {projection: 4, steps: 3}}
seeds: 2
claims:
  - {say: one is better, metric: alignment_accuracy, better: {similarity: dot}, than: {similarity: cosine}}
"""
FOURTH = Path(__file__).parent / "data" / "version_4"
MOUNTS = ["unshare", "--mount"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "-Ur", "--mount"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a store, and in it a folder for a disk of its own."""
    folder = tmp_path_factory.mktemp("full")
    if shutil.which("unshare") is None or on_a_disk(folder, 64, "true").returncode:
        pytest.skip("a disk of its own needs the right to mount one")
    (folder / "idea.yaml").write_text(IDEA)
    done = attnlab_command("sweep", "idea.yaml", "-q", "--store", "s.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def on_a_disk(folder, size, line, **environment):
    """A line of the shell in a folder whose folder `disk` is a disk of so many KiB, which others do not see."""
    (folder / "disk").mkdir(exist_ok=True)
    mounted = f"mount -t tmpfs -o size={size}k tmpfs disk && {line}"
    return subprocess.run(
        [*MOUNTS, "bash", "-c", mounted.replace("attnlab ", f"{sys.executable} -m attnlab ")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        check=False,
    )


FILL = "(head -c 9999999 /dev/zero >disk/filler 2>/dev/null; true)"
OUTPUTS = {
    "compare": ("attnlab compare alignment_accuracy --by similarity --store s.db -o disk/o.csv", "disk/o.csv"),
    "lines": ("attnlab store export --store s.db -o disk/o.jsonl", "disk/o.jsonl"),
    "export": ("attnlab store export --store s.db -o disk/o.db", "disk/o.db:"),
    "repair": ("attnlab store repair --store s.db -o disk/o.db", "disk/o.db:"),
    "index": ("attnlab index idea.yaml --store s.db -o disk/o.md", "disk/pictures/idea.svg"),
    "new": ("cd disk; attnlab new similarity mine", "attnlab-mine/pyproject.toml"),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in ("compare", "export") else pytest.mark.long) for k in OUTPUTS]
)
def test_an_output_on_a_full_disk_is_named_and_nothing_of_it_is_left(project, kind):
    line, named = OUTPUTS[kind]
    done = on_a_disk(project, 64, f"{FILL} && ({line}); status=$?; ls -A disk; exit $status")
    assert done.returncode == (6 if named.endswith(":") else 2), done.stderr
    assert named in done.stderr
    assert done.stdout.split() == ["filler"]


@pytest.mark.parametrize("size", [150, 210, pytest.param(180, marks=pytest.mark.long)])
def test_a_migration_on_a_full_disk_leaves_the_store_as_it_was_and_no_copy(project, size):
    """There is no room for the copy, or none for what comes after it."""
    for name in FOURTH.iterdir():
        shutil.copy(name, project)
    for left in project.glob("kept*"):
        left.unlink()
    sweep = "attnlab sweep four.yaml -q --rerun none --store disk/v4.db"
    line = f"cp v4.db disk && {sweep}; status=$?; ls -A disk; cp disk/v4.db kept.db; cp disk/v4.db-wal kept.db-wal; exit $status"
    done = on_a_disk(project, size, line)
    assert done.returncode == 6, done.stderr
    assert "disk/v4.db: the disk" in done.stderr
    assert not [name for name in done.stdout.split() if "version" in name], done.stdout
    with contextlib.closing(sqlite3.connect(project / "kept.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (4,)


def test_where_a_store_is_looked_at_there_must_be_room_for_it(project):
    done = on_a_disk(project, 64, "attnlab store verify --store s.db", TMPDIR=str(project / "disk"))
    assert done.returncode == 6, done.stderr
    assert "s.db: cannot be copied to" in done.stderr
    assert "Set TMPDIR" in done.stderr
