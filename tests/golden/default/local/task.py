"""One task of a job in a process of its own, as on Databricks."""

import json
import logging
import os
import sys
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

# PySpark 4.2 takes a process whose main module has no file for its own doctests, and wants a Spark distribution.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__

from .engine import open_session


@dataclass(frozen=True)
class TaskRun:
    """What a task process needs to know."""

    package: str
    entry_point: str
    parameters: dict[str, str]
    lakehouse: Path
    log: Path
    values: Path = field(repr=False)
    spark: str = field(default_factory=lambda: os.environ["SPARK_REMOTE"])  # of the process that starts the task


def execute(run: TaskRun) -> None:
    """Run the entry point, with its output in `run.log` and its task values in `run.values` (JSON)."""
    run.log.parent.mkdir(parents=True, exist_ok=True)
    log = run.log.open("w", encoding="utf-8")
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    os.environ["SPARK_REMOTE"] = run.spark
    logging.captureWarnings(True)
    sys.modules["databricks.sdk.runtime"] = _runtime(run.values)
    open_session(run.lakehouse)
    sys.argv = [run.entry_point, *(f"--{name}={value}" for name, value in run.parameters.items())]
    (entry_point,) = distribution(run.package).entry_points.select(group="tasks", name=run.entry_point)
    entry_point.load()()


def _runtime(values: Path) -> ModuleType:
    """Return what `databricks.sdk.runtime` offers a task of a job: `dbutils.jobs.taskValues.set`."""

    def set_value(key: str, value: Any) -> None:
        known = json.loads(values.read_text(encoding="utf-8")) if values.exists() else {}
        values.write_text(json.dumps(known | {key: value}), encoding="utf-8")

    module = ModuleType("databricks.sdk.runtime")
    module.dbutils = SimpleNamespace(  # type: ignore[attr-defined]
        jobs=SimpleNamespace(taskValues=SimpleNamespace(set=set_value))
    )
    module.is_local_implementation = False  # type: ignore[attr-defined]
    return module
