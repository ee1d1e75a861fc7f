"""What the code has names for and no words: columns, statuses, exit status, environment. Tests hold the names to the code."""

from __future__ import annotations

# Columns of the results table: those of a row are one kind of thing.
COLUMNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("experiment",), "its name"),
    (("run_id",), "sixteen hexadecimal digits: a hash of the complete run"),
    (("task",), "the task's name; its settings follow as `task.<setting>`"),
    (("test",), "the test condition: `test`, or one of the task's further conditions, such as `n=256` or `2L`"),
    (
        ("similarity", "normaliser", "aggregator", "position", "mask", "modifier"),
        "the parts, each followed by its settings, such as `similarity.sigma`",
    ),
    (("mechanism",), "what composes them: `single_head`, or a plugin's"),
    (("model",), "what learned; its settings follow as `model.<setting>`"),
    (("seed",), "of the data, and of the model's randomness unless that was set apart"),
    (("model_seed",), "of the model's randomness, only where it was set apart (`seeds: {data: 5, model: 3}`)"),
    ((), "every metric that applies, by name; NaN where a run did not succeed"),
    (("status",), "what became of the run, see [statuses](#statuses)"),
    (("reason",), "why it is not `ok`; else empty"),
    (("notes",), "what warned, and which metric raised, with bars between; else empty"),
    (("attempts",), "how often it was tried; more than 1 if a worker died"),
    (("fit_seconds",), "wall time of the fit, in seconds"),
    (("n_parameters",), "numbers learned"),
    (("operations_per_query",), "floating-point operations to answer one query"),
    (
        ("off_budget",),
        "by what share the one of the two that has a `budget` is above it (below it: negative); only where there is one",
    ),
    (
        ("converged",),
        "whether the loss no longer fell when the fit ended ([how that is told](../estimators.md#when-a-fit-ends)); empty where "
        "the model does not say",
    ),
    (("n_tuned",), "candidates that `tune` chose from; 1 if nothing was tuned"),
    (
        ("backend",),
        "what answered: `fast` (a hand-written gradient) or `reference`; where roles differ, each: "
        "`decoder=fast, encoder=fast, mechanism=reference`",
    ),
    (("executor",), "where it ran"),
    (
        ("plugin_versions",),
        "versions of the plugins that gave its parts and metrics; of `--plugin` files their names, as `file=mine.py`",
    ),
    (("attnlab_version",), "of attnlab"),
    (("started_at",), "ISO 8601, UTC"),
)

# Columns of `attnlab.summarise`; words are those that have no name of their own.
SUMMARY: tuple[tuple[str, str], ...] = (
    ("the axes that vary, or those of `by`", "a row for each combination"),
    ("`test`", "the test condition, if there are several"),
    ("the first metric", "its mean over the runs, in its own units"),
    ("`low`, `high`", "the 95 % Student t interval of this mean, within the bounds of the metric; NaN below two runs"),
    (
        "`solved`, `solved_low`, `solved_high`",
        "where it is known what counts as solved: the share of seeds that solved the task, and Wilson's 95 % interval",
    ),
    ("`mean_solved`", "the mean of the runs that solved it"),
    ("other metrics of `metric`", "their means; text such as `15 (2 of 3)` where only some runs have a value"),
    (
        "`standing`",
        'with `standing=True`: "best" of its task and test condition, "not shown to differ" from it, or "differs"',
    ),
    (
        "`chance`",
        "with `standing=True`, where it is known: the `alignment_accuracy` of a guess among the allowed keys",
    ),
    ("`identical`", "with `standing=True`, where rows of a task are the same in every digit: the others"),
    ("`n`", "the runs with a value of the first metric"),
    ("`ok`", "runs that succeeded, of all, such as `4/5`"),
)

STATUSES: dict[str, str] = {
    "ok": "it finished and was measured",
    "failed": "it raised an error",
    "timeout": "it took longer than the time limit",
    "crashed": "its process died",
    "oom": "it took more than the memory limit, or than the machine or its GPU had",
    "invalid": "NaN or infinite weights or predictions, or training diverged",
    "skipped": "a part refused, with a reason: what was asked for makes no sense",
}

EXIT_STATUS: dict[str, str] = {
    "0": "done; of a sweep: all runs are `ok`",
    "1": "finished, and some runs are not `ok` or at work elsewhere (`--no-wait`), a check failed, some claims in a store could not be read, "
    "`attnlab store` found damage or numbers that differ, or `attnlab referee` or `attnlab diff` found something and `--strict` was given",
    "2": "a mistake in usage, in an experiment or in a file: nothing ran",
    "3": "an internal error: a bug in attnlab or in a plugin, with its traceback",
    "4": "a cluster cannot be reached, or no longer answers; what is done is kept",
    "6": "the store cannot be used, or went away meanwhile",
    "129": "the terminal is gone (SIGHUP); what is done is kept",
    "130": "interrupted with Ctrl-C; what is done is kept",
    "143": "terminated (SIGTERM); what is done is kept",
}

ENVIRONMENT: dict[str, str] = {
    "ATTNLAB_STORE_JOURNAL": "`wal` or `delete`: the journal of the store, where attnlab does not see that its disk is another machine's",
    "ATTNLAB_PLUGINS": "names of plugins (entry points or distributions), with commas between: these are loaded and no others. "
    "Empty: none",
    "CUDA_VISIBLE_DEVICES": "the GPUs that CUDA shows; the executor `local` gives them to runs, each to one at a time",
    "NO_COLOR": "if set and not empty, tables are printed without colour",
}
