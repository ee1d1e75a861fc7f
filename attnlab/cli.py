"""The command `attnlab`. Data go to stdout, progress and messages to stderr.

Exit status: 0 all runs are ok; 1 some runs did not succeed; 2 a mistake in usage or in a file, and nothing ran;
3 internal error; 4 a cluster cannot be reached, or was lost; 6 the store cannot be used; 130, 143 and 129 interrupted by SIGINT, SIGTERM and SIGHUP.

Each command imports what it needs, so that `attnlab --help` loads little.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from attnlab import __version__
from attnlab.commands.ahead import Ahead
from attnlab.commands.align import align
from attnlab.commands.authoring import cite, new
from attnlab.commands.claims import claims, index, print_claims, warn_of
from attnlab.commands.compare import compare
from attnlab.commands.completion import complete_runs
from attnlab.commands.components import check, list_, plugins, schema, show
from attnlab.commands.diff import diff
from attnlab.commands.errors import errors
from attnlab.commands.longer import longer_option, print_changes, with_more_steps
from attnlab.commands.options import (
    STORE,
    WholeHelp,
    format_option,
    limit_option,
    only_option,
    plugin_options,
    rerun_option,
    store_option,
    use_plugins,
)
from attnlab.commands.plot import plot
from attnlab.commands.predictions import preregister, scoreboard
from attnlab.commands.referee import print_short, referee
from attnlab.commands.report import report
from attnlab.commands.results import notes_in, print_summary, results
from attnlab.commands.store import store
from attnlab.commands.streams import Stream, leave, prepare
from attnlab.guard import ASKING, Terminated, on_signal, wait_for_children
from attnlab.process import claim
from attnlab.staying import nobody_else_ends_it

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; exits with the status listed above."""
    if args is None:
        claim()
        nobody_else_ends_it()
    prepare()
    status = _status(args)
    if args is None:  # all is done: a signal that comes now has nothing to interrupt
        for number in ASKING:
            if signal.getsignal(number) is on_signal:
                signal.signal(number, signal.SIG_DFL)
    leave(status, at_once=args is None)


def _status(args: Sequence[str] | None) -> int:
    from attnlab.errors import AttnlabError, ExperimentError, StoreError

    wait_for_children()
    for number in ASKING:
        with contextlib.suppress(ValueError):  # not in the main thread: who started it ends it
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, on_signal)
    try:
        result = cli.main(args=args, prog_name="attnlab", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:  # what click makes of Ctrl-C
        print("attnlab: interrupted", file=sys.stderr)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, Terminated) as stop:
        print("attnlab: interrupted", file=sys.stderr)
        return _status_of(stop)
    except StoreError as error:
        from attnlab.tables import visible

        print(f"attnlab: {visible(str(error))}", file=sys.stderr)
        return 6
    except (AttnlabError, FileNotFoundError) as error:
        from attnlab.tables import visible

        located = isinstance(error, ExperimentError)  # begins with file:line:column, which editors can open
        print(visible(str(error) if located else f"attnlab: {error}"), file=sys.stderr)
        return 2
    except OSError as error:  # a file that may not be opened, a full disk
        if not isinstance(sys.stdout, Stream):
            sys.stdout = io.StringIO()  # Python does not try to write the rest at exit
        print(f"attnlab: {error.filename or 'writing or reading'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except Exception:
        import traceback

        traceback.print_exc()
        print("attnlab: internal error; this is a bug in attnlab or in a plugin named above", file=sys.stderr)
        return 3


def _status_of(stop: BaseException) -> int:
    """128 and the number of the signal, as shells have it."""
    return 128 + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


class Group(WholeHelp):
    """A group that suggests the command that was meant. A closed pipe is no failure."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # None if the process has no standard output
                sys.stdout.flush()
            return result
        except BrokenPipeError:  # `| head` has read enough; click would exit with 1
            sys.stdout = io.StringIO()  # Python does not try to write the rest at exit
            return 0

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from attnlab.errors import did_you_mean

            meant = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"{error.message.rstrip('.')}{meant}", ctx) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="attnlab")
def cli() -> None:
    """A pluggable attention lab: define mechanisms, sweep them over alignment tasks, compare them with error bars.

    \b
    attnlab sweep experiments/*.yaml   run what is missing, print tables
    attnlab results --format csv       all results, for other programs
    attnlab list similarity            the similarities that are installed
    """


# -- running ----------------------------------------------------------------------------------------------------------
@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Worker processes; one for each processor if left out.",
)
@store_option
@click.option(
    "--executor",
    metavar="NAME",
    help="Where runs happen: local (the default where it can be used), serial, dask (a cluster), or a plugin's.",
)
@click.option(
    "--address",
    metavar="tcp://HOST:PORT",
    help="The scheduler of a cluster, or its scheduler file; with --executor dask.",
)
@click.option(
    "--patience",
    metavar="60s",
    help="How long the scheduler of a cluster may give no answer before the sweep ends; 60s if left out.",
)
@rerun_option
@click.option("--time", "time_limit", metavar="60s", help="The most a run may take.")
@click.option("--memory", "memory_limit", metavar="2GiB", help="The most memory a run may take.")
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    metavar="N",
    help="How often a run is tried again whose worker died of a signal; once if left out.",
)
@only_option
@limit_option
@longer_option
@click.option(
    "--fail-fast",
    is_flag=True,
    help="Stop at the first run that fails. A skipped run is no failure.",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="Do not wait at the end for runs that other sweeps are at work on; the exit status is 1.",
)
@click.option("--dry-run", is_flag=True, help="Print which runs would run and why, and run nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@plugin_options
def sweep(
    files: tuple[str, ...],
    jobs: int | None,
    store: str,
    executor: str | None,
    address: str | None,
    patience: str | None,
    rerun: str,
    time_limit: str | None,
    memory_limit: str | None,
    retries: int | None,
    only: str | None,
    limit: int | None,
    times: int | None,
    fail_fast: bool,
    no_wait: bool,
    dry_run: bool,
    quiet: bool,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Run the missing runs of the experiments in FILE..., and print a table for each."""
    use_plugins(blocked, plugin_files)
    from attnlab.errors import ClusterLost
    from attnlab.sweeps.pipeline import Stopped, distinct
    from attnlab.sweeps.pipeline import sweep as run_sweep

    experiments = distinct(files)
    pairs = with_more_steps(experiments, times) if times else []
    everything = [*experiments, *(more for _, more in pairs)]
    if dry_run:
        return _print_plan(everything, store, rerun, only, limit, "table")
    warn_of(experiments)
    ahead = Ahead(store, executor)
    try:
        with ahead:
            frame = run_sweep(
                *everything,
                jobs=jobs,
                executor=executor,
                address=address,
                patience=patience,
                store=store,
                rerun=rerun,
                time_limit=time_limit,
                memory_limit=memory_limit,
                retries=retries,
                only=only,
                limit=limit,
                fail_fast=fail_fast,
                quiet=quiet,
                wait=not no_wait,
                finished=ahead.finished,
            )
    except Stopped as stopped:
        from attnlab.tables import visible

        print(f"attnlab: stopped at the first failure: {visible(str(stopped))}", file=sys.stderr)
        return 1
    except ClusterLost as lost:
        print(f"attnlab: {lost}", file=sys.stderr)
        _how_to_resume()
        return 4
    except (KeyboardInterrupt, Terminated) as stop:
        _how_to_resume()
        return _status_of(stop)
    for experiment in experiments:
        _print_experiment(experiment, frame[frame["experiment"] == experiment.name], store, only, ahead)
    if pairs and times:
        print_changes(pairs, store, times)
    bad = frame[frame["status"] != "ok"].drop_duplicates("run_id")
    if len(bad):
        _print_reasons(bad, store)
    return 1 if len(bad) or "elsewhere" in frame.attrs else 0


def _print_reasons(bad: Any, store: str) -> None:
    """How many runs did not succeed, the commonest reasons, and where to read on."""
    counts = ", ".join(f"{n} {status}" for status, n in bad["status"].value_counts().items())
    where = "" if store == STORE else f" --store {store}"
    print(f"attnlab: {counts}; `attnlab errors{where}` lists them", file=sys.stderr)
    from attnlab.tables import visible

    reasons = bad.groupby(["status", "reason"], sort=False)["run_id"].agg(["size", "first"])
    for (status, reason), (n, run_id) in (
        reasons.sort_values("size", ascending=False, kind="stable").iloc[:3].iterrows()
    ):
        runs = f"run {run_id}" if n == 1 else f"{n} runs, such as {run_id}"
        print(f"  {status} ({runs}): {visible(str(reason))}", file=sys.stderr)
    if len(reasons) > 3:
        print(f"  and {len(reasons) - 3} other reasons", file=sys.stderr)


def _how_to_resume() -> None:
    import shlex

    print(
        f"attnlab: stopped; finished runs are kept. Resume with: attnlab {shlex.join(sys.argv[1:])}",
        file=sys.stderr,
    )


def _print_experiment(experiment: Any, frame: Any, store: str, only: str | None, ahead: Ahead) -> None:
    from attnlab.tables import visible

    source = f"  [{experiment.source}]" if experiment.source else ""
    click.echo(visible(f"\n{experiment.name}: {experiment.question}{source}"))
    if elsewhere := frame.attrs.get("elsewhere", {}).get(experiment.name):
        click.echo(f"{len(elsewhere)} runs are at work elsewhere; without them")
    if not len(frame):
        click.echo("no runs yet")
        return
    made = ahead.of(experiment, frame)
    print_summary(made.summary, experiment.metrics[0])
    ok = frame[frame["status"] == "ok"]
    noted = notes_in(frame)
    for metric in experiment.metrics:
        if len(ok) and (metric not in ok or ok[metric].isna().all()):
            new = "" if any(metric in note for note in noted) else "; if it is new here, `--rerun all` measures it"
            click.echo(f"{metric} has no value in these runs{new}")
    for note, n_runs in noted.items():
        print(
            f"{experiment.name}: note of {n_runs} of {frame['run_id'].nunique()} runs: {visible(note)}", file=sys.stderr
        )
    if experiment.claims:
        if outside := sorted({*made.whole["run_id"]} - {*frame["run_id"]}):
            click.echo(
                f"\nthe claims are judged by all {made.whole['run_id'].nunique()} runs that the store has; {len(outside)} of them lie "
                f"outside --only {only}"
            )
        print_claims(made.claims)
    print_short(experiment, made.report, store)


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@store_option
@rerun_option
@only_option
@limit_option
@format_option("table", "csv", "json")
@plugin_options
def plan(
    files: tuple[str, ...],
    store: str,
    rerun: str,
    only: str | None,
    limit: int | None,
    form: str,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Print which runs `sweep` would run, and why."""
    use_plugins(blocked, plugin_files)
    from attnlab.sweeps.collecting import uncollected

    with uncollected():
        return _print_plan(files, store, rerun, only, limit, form)


def _print_plan(files: Sequence[Any], store: str, rerun: str, only: str | None, limit: int | None, form: str) -> int:
    import pandas as pd

    from attnlab.sweeps.columns import columns
    from attnlab.sweeps.pipeline import plan_with_reasons
    from attnlab.tables import differs, print_frame, print_table

    known: dict[str, dict[str, Any]] = {}  # columns of runs that differ in their seed alone
    rows, totals, own = [], {"run": 0, "skip": 0, "keep": 0, "later": 0, "elsewhere": 0}, []
    for experiment, decided in plan_with_reasons(files, store, rerun, only, limit):
        warn_of([experiment])
        for planned in decided:
            totals[planned.action] += 1
            if planned.stale_own:
                own.append(planned)
            row = {"experiment": experiment.name, "run_id": planned.run.run_id, "action": planned.action}
            rows.append({**row, "reason": planned.reason, **columns(planned.run, known)})
    frame = pd.DataFrame(rows)
    if form != "table":
        print_frame(frame, form)
    elif len(frame):
        whole = ["experiment", "run_id", "action", "reason"]
        changing = [c for c in frame.columns if c not in whole and differs(frame[c].dropna())]
        print_table(frame[whole + changing])
    if own:
        seconds = sum(planned.seconds for planned in own)
        time = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        print(
            f"attnlab: {len(own)} stale by attnlab's own code (stale-own): they took {time} of run time; "
            f"`--rerun missing,failed,stale` leaves them",
            file=sys.stderr,
        )
    later = f", {totals['later']} to run later (beyond --limit {limit})" if totals["later"] else ""
    elsewhere = f", {totals['elsewhere']} at work elsewhere" if totals["elsewhere"] else ""
    skip = f", {totals['skip']} to record as skipped" if totals["skip"] else ""
    print(f"attnlab: {totals['run']} to run{skip}, {totals['keep']} to keep{later}{elsewhere}", file=sys.stderr)
    return 0


@cli.command()
@click.argument("run_id", shell_complete=complete_runs)
@store_option
@plugin_options
def run(run_id: str, store: str, plugin_files: tuple[str, ...], blocked: tuple[str, ...]) -> int:
    """Repeat one run in this process, and print its whole traceback if it fails. The store is not changed."""
    use_plugins(blocked, plugin_files)
    from attnlab.errors import AmbiguousName, InputChanged, UnknownName
    from attnlab.sweeps.execute import execute
    from attnlab.sweeps.executors.strangers import metrics_of_others
    from attnlab.sweeps.frame import load_run, with_files
    from attnlab.tables import shown, visible

    stored = load_run(run_id, store)
    found = with_files(stored.run, store)
    print(visible(f"{stored.run.run_id}: {stored.run.label()} (was {stored.result.status})"), file=sys.stderr)
    try:
        columns = {column for values in stored.result.metrics.values() for column in values}
        result = execute(dataclasses.replace(found, metrics=metrics_of_others(columns)), raise_errors=True)
    except (UnknownName, AmbiguousName) as error:
        raise UnknownName(f"{error}; if it came from a plugin, install the plugin or give --plugin FILE.py") from None
    except InputChanged:
        raise
    except Exception:
        import traceback

        traceback.print_exc()
        return 1
    for test, metrics in result.metrics.items():
        for metric, value in metrics.items():
            click.echo(f"{test}\t{metric}\t{shown(value)}")
    return 0


for command in (
    align, check, cite, claims, compare, diff, errors, index, list_, new, plot, plugins, preregister, referee, report, results,
    schema, scoreboard, show, store,
):  # fmt: skip
    cli.add_command(command)
