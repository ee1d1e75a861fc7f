"""The pages of the referee: one for each code, and one that leads to them."""

from __future__ import annotations

from attnlab.findings import CODES, Code
from tools.reference.docstrings import table

__all__ = ["referee_pages"]

INTRODUCTION = """\
`attnlab referee` reads results as a sceptical reader would. Each finding has a code that stays, says what was seen, and what would
settle it. Nothing is run, and no number changes.

```console
attnlab referee                            # all experiments of the store
attnlab referee my.yaml                    # one experiment, whose results are in the store
attnlab referee --strict                   # exit status 1 if anything is found, for continuous integration
attnlab referee --format json              # for programs
```

A few words of it are under each table of `attnlab sweep`, and all of it is in `attnlab report`. In Python it is a DataFrame:
`attnlab.referee(attnlab.load_results("results/attnlab.db"))`, with the columns `experiment`, `code`, `finding`, `where`, `seen` and
`settle`.

A finding is no verdict. Some are mended, and some are what the experiment is about. The file says so, with a reason, and then the finding is quiet:

```yaml
allow:
  - {code: R107, why: the number of keys is what is asked}
```

A bare code may have its reason in a comment: `allow: [R107]  # the number of keys is what is asked`. `attnlab referee` lists what is allowed
with its reason, and says on stderr which allowed codes are not found.

Exit status: 0, whatever is found; 1 with `--strict` if there is a finding that is not allowed, or if an experiment of the store
cannot be read here; 2 for mistakes in usage or in a file."""


def referee_pages() -> dict[str, str]:
    """The text of each page, by its path below `docs/`."""
    rows = [[f"[{one.code}]({one.code}.md)", one.title] for one in CODES.values()]
    index = "\n\n".join(["# The referee", INTRODUCTION, "## The findings", table(["code", "finding"], rows)])
    return {"referee/index.md": index, **{f"referee/{one.code}.md": _page(one) for one in CODES.values()}}


def _page(one: Code) -> str:
    return "\n\n".join(
        [
            f"# {one.code}: {one.title}",
            "## When it is given",
            one.given,
            "## Why a reader minds",
            one.matters,
            "## What settles it",
            one.settles,
            f"To allow it, with a reason: `allow: [{{code: {one.code}, why: ...}}]` in the experiment file. "
            "[All findings](index.md).",
        ]
    )
