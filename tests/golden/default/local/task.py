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
from .reasons import reason


@dataclass(frozen=True)
class TaskRun:
    """What a task process needs to know, and what it leaves behind beside its log."""

    package: str
    entry_point: str
    parameters: dict[str, str]
    lakehouse: Path
    log: Path
    spark: str = field(default_factory=lambda: os.environ["SPARK_REMOTE"])  # of the process that starts the task

    @property
    def values(self) -> Path:
        """The task values, as JSON."""
        return self.log.with_suffix(".values.json")

    def finding(self) -> str:
        """Return the newest sentence that the package has logged; nothing if it was silent."""
        return _text(self.log.with_suffix(".finding"))

    def failure(self, exit_code: int | None) -> str:
        """Return why the task failed."""
        (*_, last) = _text(self.log).strip().splitlines() or [""]
        return _text(self.log.with_suffix(".failure")) or f"exit code {exit_code}. {last}"


class Finding(logging.Handler):
    """Leaves the newest sentence of a package where the process that waits for the task finds it."""

    def __init__(self, file: Path) -> None:
        super().__init__(logging.INFO)
        self.file = file

    def emit(self, record: logging.LogRecord) -> None:
        self.file.write_text(record.getMessage(), encoding="utf-8")


def execute(run: TaskRun) -> None:
    """Run the entry point of a task, with its output in `run.log`."""
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
    logging.getLogger(entry_point.module.partition(".")[0]).addHandler(Finding(run.log.with_suffix(".finding")))
    try:
        entry_point.load()()
    except Exception as error:
        run.log.with_suffix(".failure").write_text(reason(error), encoding="utf-8")
        raise


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


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
