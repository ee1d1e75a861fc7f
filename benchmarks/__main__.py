"""`python -m benchmarks [NAME ...] [-q] [-o FOLDER]`: ratios against peers, as Markdown on the screen and CSV in a folder.

NAME is `training_step`, `normalisers`, `attend` or `growth`; by default all of them. `growth` has no peer: it shows how time and
memory grow. Peers that are not installed are left out:
`pip install torch==2.13.0 entmax` for PyTorch's, `pip install jax` for JAX's. `-q` is quick, and less exact.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
from pathlib import Path
from typing import Any

from benchmarks import common

ALL = ("training_step", "normalisers", "attend", "growth")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; by default all")
    parser.add_argument("-q", "--quick", action="store_true", help="fewer steps, and less exact")
    parser.add_argument("-o", "--output", type=Path, help="folder for a CSV file of each")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in ALL]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    print(common.machine())
    for name in given.names or ALL:
        module = importlib.import_module(f"benchmarks.{name}")
        with common.threads(getattr(module, "THREADS", 1)):
            rows: list[dict[str, Any]] = module.main(given.quick)
        print(f"\n## {name}\n\n{common.markdown(rows)}\n")
        for column in sorted({column for row in rows for column in row if column == "x" or column.startswith("x ")}):
            ratios = [row[column] for row in rows if column in row]
            print(
                f"{column or 'x'}: {common.geometric_mean(ratios):.2f} times as fast in the geometric mean, {min(ratios):.2f} at least"
            )
        if given.output:
            given.output.mkdir(parents=True, exist_ok=True)
            with (given.output / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
                writer.writeheader()
                writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
