"""`python -m tools.table STORE -o docs/table.md`: write the page and its picture from a store. Nothing is run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import attnlab
from attnlab.analysis.frontier import frontier
from attnlab.analysis.plots.drawing import save
from attnlab.analysis.plots.frontier import frontier_figure
from attnlab.commands.options import use_plugins
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.frame import load_results
from tools.table.interactive import write_interactive
from tools.table.page import page
from tools.table.scores import Table, gathered

LONGER = "experiments/table/longer.md"
FILES = ("experiments/table/content.yaml", "experiments/table/order.yaml")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments, and write."""
    parser = argparse.ArgumentParser(prog="python -m tools.table", description=__doc__)
    parser.add_argument("store")
    parser.add_argument("-o", "--output", default="docs/table.md", metavar="FILE")
    parser.add_argument("--file", action="append", default=[], metavar="FILE.yaml", help="an experiment of the table")
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a file with mechanisms of your own"
    )
    parser.add_argument("--machine", default="", help="a sentence about where it was run")
    parser.add_argument("--short", default="", help="a sentence about what falls short of the plan")
    parser.add_argument("--longer", default=LONGER, metavar="FILE.md", help="a section on longer runs, written by hand")
    parser.add_argument("--page", metavar="FILE.html", help="write the interactive page as well")
    given = parser.parse_args(arguments)
    use_plugins([], given.plugin)
    files = given.file or list(FILES)
    longer = Path(given.longer).read_text(encoding="utf-8").strip() if given.longer else ""
    table, rows = write(given.store, given.output, files, given.machine, given.short, longer)
    if given.page:
        write_interactive(given.store, table, rows, given.page)


def write(
    store: str, output: str, files: Sequence[str], machine: str = "", short: str = "", longer: str = ""
) -> tuple[Table, pd.DataFrame]:
    """Write the page to `output`, and its picture beside it in `pictures/`; returns the table, and quality against cost.

    `longer` is a section that was written by hand.
    """
    frame = load_results(store)
    table = gathered(frame)
    claims, asked_of = [], []
    for file in files:
        name = Path(file).stem
        rows = frame[(frame["experiment"] == name) & frame["seed"].isin(table.seeds)]
        if len(rows):
            asked = read(file).model_copy(update={"seeds": table.seeds})  # the page says what is short of the plan
            claims.append(attnlab.check_claims(rows, asked).assign(experiment=name))
            asked_of.append(asked)
    seen = frame[frame["seed"].isin(table.seeds)]
    findings = attnlab.referee(seen, asked_of or None)
    seconds = float(table.frame["fit_seconds"].sum())
    picture = Path(output).parent / "pictures" / "table-frontier.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    kept = table.frame[["run_id", "test", "task", "seed", "skill", "operations_per_query"]]
    kept = kept.assign(status="ok", attention=table.frame["competitor"])
    uncounted = kept.loc[
        kept["operations_per_query"].isna(), "attention"
    ].unique()  # a part that does not say what it costs
    kept = kept[~kept["attention"].isin(uncounted)]
    rows = frontier(kept, "skill", by="attention", direction="up")
    picture.unlink(missing_ok=True)
    save(frontier_figure(rows, "skill", "operations_per_query"), picture)
    text = page(
        table,
        {"seconds": seconds, "machine": machine, "short": short, "longer": longer},
        pd.concat(claims, ignore_index=True),
        findings,
        f"pictures/{picture.name}",
    )
    Path(output).write_text(text, encoding="utf-8")
    return table, rows


if __name__ == "__main__":
    main()
