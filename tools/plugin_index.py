"""The index of the plugins in `plugins/`, made by the checks of `attnlab check` on each: `python -m tools.plugin_index` writes the page.

Checks that need PyTorch or JAX are left out, so that the page is the same wherever it is made.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.kinds import HOOKS, INTERFACES
from attnlab.testing.checks import checks_for
from attnlab.testing.subject import Subject

__all__ = ["PAGE", "Listed", "listed", "main", "page"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugin-index.md"
ELSEWHERE = ("C031", "C032")  # need PyTorch, and JAX

HEAD = """\
# Index of plugins

The plugins in the repository, with what `attnlab check` says of each: how many checks of the contract were made, and how many of them
passed. A check that does not apply is not made. To be listed here, a plugin is a folder in `plugins/`, with a README, tests, and an
experiment or an example that shows what it is for. `python -m tools.plugin_index` writes this page.

"""
TAIL = """\

[Writing a plugin](plugins.md) says how to write one, [Publish your plugin](publish.md) how others get it, and
[What is stable](stability.md) what a plugin may rely on.
"""


@dataclass(frozen=True)
class Listed:
    """One plugin: what its project file and its module say, and its component classes."""

    name: str
    version: str
    description: str
    classes: tuple[type, ...]
    events: tuple[str, ...]
    experiments: tuple[str, ...]


def listed() -> list[Listed]:
    """The plugins in `plugins/`, by name."""
    return [_listed(file) for file in sorted((ROOT / "plugins").glob("*/pyproject.toml"))]


def _listed(file: Path) -> Listed:
    project = tomllib.loads(file.read_text())["project"]
    hooks: Mapping[str, Any] = {}
    for module in project.get("entry-points", {}).get("attnlab", {}).values():  # none where it only uses attnlab
        loaded = _loaded(module, file.parent / f"{module}.py")
        hooks = {name: value for name, value in vars(loaded).items() if name.startswith("attnlab_")}
    classes = tuple(cls for hook in HOOKS.values() if hook in hooks for cls in hooks[hook]())
    events = tuple(name for name in hooks if name not in HOOKS.values())
    experiments = tuple(sorted(path.stem for path in (file.parent / "experiments").glob("*.yaml")))
    return Listed(project["name"], project["version"], project["description"], classes, events, experiments)


def _loaded(module: str, path: Path) -> Any:
    if module in sys.modules:
        return sys.modules[module]
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _counts(classes: Sequence[type]) -> tuple[int, int]:
    """(checks that were made, those that passed or gave advice alone)."""
    made = passed = 0
    for cls in classes:
        subject = Subject(cls)
        for check in checks_for(subject.kind):
            if check.code not in ELSEWHERE:
                status = check.run(subject).status
                made += status != "skipped"
                passed += status in ("passed", "warned")
    return made, passed


def rows(counts: Any = _counts) -> Iterator[str]:
    """The rows of the table."""
    yield "| plugin | version | what | gives | checks | experiments |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in listed():
        by_kind = [(kind, [cls.name for cls in one.classes if cls.kind == kind]) for kind in INTERFACES]  # type: ignore[attr-defined]
        gives = "; ".join(f"{kind} {', '.join(f'`{n}`' for n in names)}" for kind, names in by_kind if names)
        heard = f"listens to {', '.join(f'`{event}`' for event in one.events)}" if one.events else ""
        made, passed = counts(one.classes)
        said = f"{passed} of {made}" if made else "no component"
        ran = ", ".join(f"`{name}`" for name in one.experiments) or "–"
        yield f"| `{one.name}` | {one.version} | {one.description} | {'; '.join(filter(None, [gives, heard])) or '–'} | {said} | {ran} |"


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(rows()) + "\n" + TAIL


def main() -> int:
    """Write the page."""
    text = page()
    if not PAGE.exists() or PAGE.read_text() != text:
        PAGE.write_text(text)
        print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
