"""Runs a function as a job task: its named parameters are the task's parameters."""

import logging
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import date
from typing import Any, get_type_hints


def boolean(text: str) -> bool:
    """Return the value of `true` or `false`, as job parameters spell it."""
    if text not in ("true", "false"):
        raise ValueError(f"'{text}' is neither true nor false")
    return text == "true"


PARSERS: dict[Any, Callable[[str], Any]] = {date: date.fromisoformat, bool: boolean}


def run(function: Callable[..., Any]) -> None:
    """Call `function` with the `--name=value` arguments that it declares.

    Every parameter of the function is required, so the job's YAML is the only place for defaults. Other arguments are
    ignored, because Databricks hands all parameters of a job to each of its tasks.

    Raises:
        SystemExit: with code 2 if a parameter is missing or not of its declared type.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for chatty in ("py4j", "alembic", "mlflow", "pyspark"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # One warns of every pickle, and `train` says why it writes one. The other misses pip, which uv does without.
    for alarmed in ("mlflow.sklearn", "mlflow.utils.environment"):
        logging.getLogger(alarmed).setLevel(logging.ERROR)

    parser = ArgumentParser(prog=function.__name__, description=function.__doc__, allow_abbrev=False)
    for name, kind in get_type_hints(function).items():
        if name != "return":
            parser.add_argument(f"--{name}", type=PARSERS.get(kind, kind), required=True)
    arguments, _ = parser.parse_known_args()
    function(**vars(arguments))


def set_task_value(key: str, value: str | bool) -> None:
    """Publish a value that later tasks of the run read as `{{tasks.<this task>.values.<key>}}`.

    Raises:
        RuntimeError: outside a job, where the `dbutils` of the SDK drops the value without a word.
    """
    from databricks.sdk.runtime import dbutils, is_local_implementation  # importing it looks for a cluster

    if is_local_implementation:
        raise RuntimeError(f"The task value {key} is lost outside a job. Use: uv run python -m local run TARGET JOB")
    dbutils.jobs.taskValues.set(key=key, value=value)
