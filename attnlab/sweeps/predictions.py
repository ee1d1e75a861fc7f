"""What an experiment said before its results: question, claims and plan, with the time and the git commit.

A sweep registers what it is about to run, and `attnlab preregister` does so without running anything. Each distinct version is kept
with the number of its runs that had a result at that moment. So a verdict can say whether its claim was there first.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from attnlab.errors import StoreError
from attnlab.sweeps.checksums import digest
from attnlab.sweeps.database import Database
from attnlab.sweeps.experiment.claims import Claim
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.rows import as_text, marks, now
from attnlab.sweeps.run import Run

__all__ = [
    "BEFORE",
    "RESULTS",
    "Predictions",
    "Registered",
    "Written",
    "content_of",
    "origin_of",
    "says_more",
    "written",
]

SINCE = 4  # the version of the store's schema that has them
BEFORE = "written before the first run"
RESULTS = ("ok", "invalid")  # statuses that have shown something
_WORDS = ("say", "why")  # of a claim: how it is put, and why it failed; no part of what is predicted


@dataclass(frozen=True)
class Registered:
    """One version of an experiment, as it was registered.

    Parameters
    ----------
    key : str
        The name of the experiment.
    registered_at : str
        UTC, ISO 8601.
    n_runs : int
        How many of its planned runs had a result already.
    commit : str
        The git commit of the file, with "+" where the file was changed since; "" where that is not known.
    author : str
        `author:` of the file, or who last committed it, or the git user; "" where nobody is known.
    text : str
        Question, claims and plan as JSON.
    """

    key: str
    registered_at: str
    n_runs: int
    commit: str
    author: str
    text: str

    @property
    def sha256(self) -> str:
        """What the version is known by."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def misfit(row: Sequence[Any]) -> str:
    """Why attnlab cannot have written a row of `registered`, in words; empty if it can."""
    if not all(isinstance(value, str) for value in (row[0], row[2], *row[4:7])):
        return "there is something else in the place of a text"
    if not (isinstance(row[3], int) and row[3] >= 0):
        return f"{row[3]!r} is no number of runs"
    try:
        said = json.loads(row[6])
        row[6].encode()
        claims, plan = said["claims"], said["plan"]
        fits = all(isinstance(one["say"], str) for one in claims) and isinstance(plan["sha256"], str)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        return f"its text is no question with claims and a plan ({type(error).__name__}: {error})"
    if not (fits and isinstance(claims, list) and isinstance(said.get("question"), str)):
        return "its text is no question with claims and a plan"
    return ""


class Predictions:
    """The registered versions of a store's experiments."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, key: str | None = None) -> list[Registered]:
        """The versions of an experiment, or of all, oldest first; those that do not agree with their checksum are left out."""
        if self._db.version < SINCE:
            return []
        where, values = ("", ()) if key is None else (" WHERE key = ?", (key,))
        with self._db.refusals(), self._db.transaction("DEFERRED"):
            rows = self._db.execute(f"SELECT * FROM registered{where} ORDER BY key, place", values).fetchall()
        rows = [row for row in rows if digest(row[:-1]) == row[-1]]
        for row in rows:
            if wrong := misfit(row):
                raise StoreError(
                    f"{self._db.path}: what the experiment {row[0]} registered ({row[1]}): {wrong}. attnlab writes no such row, though "
                    f"its checksum is right. `attnlab store repair` leaves it out"
                )
        return [Registered(row[0], *row[2:-1]) for row in rows]

    def add(self, experiment: Experiment, runs: Sequence[Run]) -> tuple[Registered, bool]:
        """Keep what an experiment says now, unless its last version says the same; and whether it is new.

        How many of its runs have a result is counted in the same transaction.
        """
        text = as_text(content_of(experiment, runs))
        if (before := self.of(experiment.name)) and before[-1].text == text:
            return before[-1], False
        commit, author = origin_of(experiment)
        ids = [run.run_id for run in runs]
        query = "SELECT count(*) FROM runs WHERE run_id IN ({}) AND status IN ({})"
        with self._db.refusals(), self._db.transaction():
            n_runs = 0
            for some in (ids[i : i + 500] for i in range(0, len(ids), 500)):
                asked = query.format(marks(len(some)), marks(len(RESULTS)))
                n_runs += self._db.execute(asked, (*some, *RESULTS)).fetchone()[0]
            places = "SELECT ifnull(max(place), -1) + 1 FROM registered WHERE key = ?"
            (place,) = self._db.execute(places, (experiment.name,)).fetchone()
            row = (experiment.name, place, now(), n_runs, as_text(commit), as_text(author), text)
            self._db.execute(f"INSERT INTO registered VALUES ({marks(8)})", (*row, digest(row)))
        self._db.still_there()
        return Registered(row[0], *row[2:]), True


def content_of(experiment: Experiment, runs: Iterable[Run]) -> str:
    """Question, claims and plan as canonical JSON."""
    ids = sorted(run.run_id for run in runs)
    plan = {
        "runs": len(ids),
        "sha256": hashlib.sha256(" ".join(ids).encode()).hexdigest(),
        "seeds": _numbers(experiment.seeds),
        **({"model seeds": _numbers(experiment.model_seeds)} if experiment.model_seeds is not None else {}),
        **({"tune": experiment.tune} if experiment.tune else {}),
    }
    claims = [_plain(claim) for claim in experiment.claims]
    said = {"question": experiment.question, "metrics": list(experiment.metrics), "claims": claims, "plan": plan}
    return json.dumps(said, sort_keys=True, ensure_ascii=False)


def _plain(claim: Claim) -> dict[str, Any]:
    return claim.model_dump(mode="json", exclude_defaults=True)


def _numbers(seeds: Sequence[int]) -> str:
    listed = list(seeds)
    return (
        f"0 to {len(listed) - 1}" if listed == list(range(len(listed))) and listed[1:] else ", ".join(map(str, listed))
    )


# -- where a file comes from ------------------------------------------------------------------------------------------
def origin_of(experiment: Experiment) -> tuple[str, str]:
    """The git commit of an experiment's file and its author; "" where there is none."""
    path = experiment.path
    if path is None or not path.is_file():
        return "", experiment.author or ""
    folder, name = path.resolve().parent, path.name
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return "", experiment.author or ""
    changed = _git(folder, "status", "--porcelain", "--", name) != ""
    named = "" if changed else _git(folder, "log", "-1", "--format=%an", "--", name)
    author = experiment.author or named or _git(folder, "config", "user.name")
    return commit + "+" * changed, author


def _git(folder: Path, *arguments: str) -> str:
    """What git says; "" if it is not installed, or the folder is in no repository."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


# -- what a verdict can say -------------------------------------------------------------------------------------------
class Written(NamedTuple):
    """When a claim was written: in words ("" where that is not known), and what was changed."""

    when: str
    change: str = ""

    @property
    def before(self) -> bool:
        return self.when == BEFORE


def says_more(claims: Sequence[Claim], versions: Sequence[Registered]) -> bool:
    """Whether a claim is in none of the versions that were registered; False if none was."""
    known = {_meant(claim) for version in versions for claim in version.content["claims"]}
    return bool(versions) and any(_meant(_plain(claim)) not in known for claim in claims)


def written(claims: Sequence[Claim], versions: Sequence[Registered]) -> tuple[list[Written], list[str]]:
    """When each claim was written; and the claims and plans of earlier versions that are gone, in words.

    Parameters
    ----------
    claims : sequence of Claim
        As they are judged.
    versions : sequence of Registered
        Of this experiment, oldest first; a store may know none.

    Returns
    -------
    list of Written
        "written before the first run", "changed after N runs" with the difference, "added after N runs", or "first written down
        after N runs". A claim that is worded otherwise is the same claim, if it selects and expects the same.
    list of str
        What was dropped, or planned otherwise, after there were results.
    """
    contents = [version.content for version in versions]
    found = [_written(_plain(claim), versions, contents) for claim in claims]
    return found, [*_dropped([_plain(claim) for claim in claims], versions, contents), *_replanned(versions, contents)]


def _meant(claim: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in claim.items() if key not in _WORDS}, sort_keys=True)


def _written(claim: dict[str, Any], versions: Sequence[Registered], contents: Sequence[Any]) -> Written:
    for i, (version, content) in enumerate(zip(versions, contents, strict=True)):
        if _meant(claim) not in map(_meant, content["claims"]):
            continue
        runs = f"{version.n_runs} run{'s' * (version.n_runs != 1)}"
        if not version.n_runs:
            return Written(BEFORE)
        if not i:
            return Written(f"first written down after {runs}")
        was = next((one for one in reversed(contents[i - 1]["claims"]) if one["say"] == claim["say"]), None)
        was = was or _nearest(claim, contents[i - 1]["claims"], content["claims"])
        return Written(f"changed after {runs}", _difference(was, claim)) if was else Written(f"added after {runs}")
    return Written("not registered yet" if versions else "")


def _nearest(
    claim: Mapping[str, Any], before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """The claim that this one replaced: at the same place, about the same metric, and gone since."""
    place = [_meant(one) for one in after].index(_meant(claim))
    if place < len(before) and len(before) == len(after):
        was = before[place]
        if was.get("metric") == claim.get("metric") and _meant(was) not in map(_meant, after):
            return was
    return None


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    keys = [key for key in dict.fromkeys([*before, *after]) if key not in _WORDS and before.get(key) != after.get(key)]
    return "; ".join(f"{key} {_shown(before.get(key))} -> {_shown(after.get(key))}" for key in keys)


def _shown(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dropped(claims: Sequence[dict[str, Any]], versions: Sequence[Registered], contents: Sequence[Any]) -> list[str]:
    """Claims of earlier versions that are gone since there were results, and were not just changed."""
    now_there = {_meant(one) for one in claims} | {one["say"] for one in claims}
    found: dict[str, str] = {}
    for content, later, after in zip(contents, versions[1:], contents[1:], strict=False):
        gone = [one for one in content["claims"] if _meant(one) not in now_there and one["say"] not in now_there]
        replaced = len(after["claims"]) == len(content["claims"])  # by another one at its place, which says so itself
        for one in gone if later.n_runs and not replaced else ():
            if _meant(one) not in map(_meant, after["claims"]):
                found[one["say"]] = f"the claim “{one['say']}” was dropped after {later.n_runs} runs"
    return list(found.values())


def _replanned(versions: Sequence[Registered], contents: Sequence[Any]) -> list[str]:
    """Changes of the plan after there were results."""
    found = []
    for before, content, version in zip(contents, contents[1:], versions[1:], strict=False):
        if version.n_runs and before["plan"]["sha256"] != content["plan"]["sha256"]:
            keys = ("runs", "seeds", "model seeds", "tune")
            differing = [key for key in keys if before["plan"].get(key) != content["plan"].get(key)]
            said = "; ".join(
                f"{key} {_shown(before['plan'].get(key))} -> {_shown(content['plan'].get(key))}" for key in differing
            )
            found.append(f"the plan was changed after {version.n_runs} runs: {said or 'other runs, as many'}")
    return found
