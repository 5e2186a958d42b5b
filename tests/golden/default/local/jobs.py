"""Runs a job of the bundle: task order, conditions, parameters and task values as the bundle files give them."""

import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from .adopt import calendar
from .bundle import BundleError, find_job, load_bundle, target_names
from .engine import STATE, create_resources, spark_server
from .task import TaskRun, execute
from .terminal import say, say_task, waiting
from .variables import variables

# What the laptop honours or may ignore without changing results. Anything else in a job is refused by name.
JOB_FIELDS = {
    *("id", "name", "description", "tags", "parameters", "tasks", "environments", "schedule", "queue", "permissions"),
    *("max_concurrent_runs", "timeout_seconds", "health", "email_notifications", "job_clusters", "performance_target"),
}
TASK_FIELDS = {
    *("task_key", "description", "depends_on", "environment_key", "max_retries", "min_retry_interval_millis"),
    *("timeout_seconds", "python_wheel_task", "condition_task", "run_job_task", "job_cluster_key", "libraries"),
    "disable_auto_optimization",
}
# Entry points that ask a service of the workspace which has no stand-in here. They hand nothing on to other tasks.
LEFT_OUT = {"data_profiling"}
DYNAMIC = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


class JobError(RuntimeError):
    """A task of the job failed."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Laptop:
    """The project whose jobs run here."""

    root: Path

    def deploy(self, target: str) -> dict[str, Any]:
        """Create the resources of `target`, and return its bundle."""
        bundle = load_bundle(self.root, target)
        create_resources(self.root, bundle)
        return bundle

    def run(self, target: str, job: str, parameters: dict[str, str] | None = None) -> None:
        """Deploy `target` and run one of its jobs to the end.

        Raises:
            BundleError: if the target has no such job, or the job no such parameter.
            JobError: says which task failed and why.
        """
        with waiting(f"{target} is deployed to this machine"):
            bundle = self.deploy(target)
        JobRun(self, bundle, job, parameters or {}).run()


@contextmanager
def laptop(root: Path) -> Iterator[Laptop]:
    """Start what jobs of the project in `root` need, and stop it at the end."""
    with ExitStack() as running:
        with waiting("Spark and MLflow start"):
            os.environ.update(variables(root))
            catalogs = [
                schema["catalog_name"]
                for target in target_names(root)
                for schema in load_bundle(root, target)["resources"]["schemas"].values()
            ]
            if sys.platform == "linux":
                forkserver.ensure_running()  # imports while this process goes on
            running.enter_context(spark_server(list(dict.fromkeys(catalogs))))
        yield Laptop(root)


class JobRun:
    """One run of one job."""

    def __init__(self, laptop: Laptop, bundle: dict[str, Any], key: str, parameters: dict[str, str]) -> None:
        job = find_job(bundle, key, parameters)
        target = bundle["bundle"]["target"]
        _refuse_unknown(f"job {key}", job, JOB_FIELDS)
        defaults = {parameter["name"]: parameter["default"] for parameter in job.get("parameters", [])}
        self.laptop, self.bundle, self.key, self.target, self.job = laptop, bundle, key, target, job
        self.started = datetime.now(UTC)
        self.id = f"{self.started:%Y%m%dT%H%M%S%f}-{target}-{key}"
        self.parameters = {name: self._text(value, "") for name, value in (defaults | parameters).items()}
        self.values: dict[str, dict[str, Any]] = {}
        self.outcomes: dict[str, str] = {}
        self.announced = False

    def run(self, until: str | None = None) -> None:
        """Run the tasks in the order of their dependencies, and stop after the task `until` if it is given.

        Raises:
            JobError: if a task fails; the tasks behind it do not run.
        """
        waiting = {task["task_key"]: task for task in self.job["tasks"]}
        while waiting:
            ready = [key for key, task in waiting.items() if not _needs(task) & waiting.keys()]
            if not ready:
                raise BundleError(f"Job '{self.key}': tasks wait for each other: {', '.join(waiting)}.")
            for key in ready:
                task = waiting.pop(key)
                _refuse_unknown(f"task {self.key}.{key}", task, TASK_FIELDS)
                self.outcomes[key] = self._run_task(key, task) if self._wanted(task) else "excluded"
                if key == until:
                    return

    def _wanted(self, task: dict[str, Any]) -> bool:
        return all(
            self.outcomes[needed["task_key"]] == needed.get("outcome", "success")
            for needed in task.get("depends_on", [])
        )

    def _run_task(self, key: str, task: dict[str, Any]) -> str:
        """Run one task and return its outcome: `success`, or `true` or `false` of a condition."""
        if "condition_task" in task:
            condition = task["condition_task"]
            if condition["op"] != "EQUAL_TO":
                raise BundleError(f"task {self.key}.{key}: the laptop knows no condition {condition['op']}.")
            return str(self._text(condition["left"], key) == self._text(condition["right"], key)).lower()
        if "run_job_task" in task:
            other = task["run_job_task"]
            own = {name: self._text(value, key) for name, value in other.get("job_parameters", {}).items()}
            # Databricks hands them to the job that is called as well.
            JobRun(self.laptop, self.bundle, other["job_id"], own | self.parameters).run()
            self.announced = False
            return "success"
        if not self.announced:
            say(f"{self.target} {self.key}", "bold", indent="  ")
            self.announced = True
        if task["python_wheel_task"]["entry_point"] in LEFT_OUT:
            say_task(key, "-", 0, "left out: it needs a workspace")
            return "success"
        self._run_wheel(key, task["python_wheel_task"])
        return "success"

    def _run_wheel(self, key: str, wheel: dict[str, Any]) -> None:
        folder = self.laptop.root.resolve() / STATE / "runs" / self.id
        own = {name: self._text(value, key) for name, value in wheel["named_parameters"].items()}
        run = TaskRun(
            package=wheel["package_name"],
            entry_point=wheel["entry_point"],
            # Databricks hands the job's parameters to every task, over its own of the same name.
            parameters=own | self.parameters,
            lakehouse=self.laptop.root.resolve() / STATE / "lakehouse",
            log=folder / f"{key}.log",
        )
        start = time.perf_counter()
        process = PROCESSES.Process(target=execute, args=(run,))
        with waiting(f"{self.target} {self.key}.{key}") as add:
            process.start()
            while process.is_alive():
                process.join(0.2)
                add(run.finding())
        failed = process.exitcode != 0
        say_task(key, "FAILED" if failed else "ok", time.perf_counter() - start, "" if failed else run.finding())
        if failed:
            raise JobError(
                f"{self.target} {self.key}.{key} failed: {run.failure(process.exitcode)}\n"
                f"Its log: {run.log.relative_to(self.laptop.root.resolve())}",
                run.log,
            )
        if run.values.exists():
            self.values[key] = json.loads(run.values.read_text(encoding="utf-8"))

    def _text(self, value: Any, task: str) -> str:
        """Return `value` with its dynamic references filled in. Booleans are lower case, as on Databricks."""

        def look_up(match: re.Match[str]) -> str:
            match match[1].split("."):
                case ["job", "parameters", name] if name in self.parameters:
                    found = self.parameters[name]
                case ["job", "start_time", "iso_date"]:
                    found = calendar(self.laptop.root).get("today") or self.started.date().isoformat()
                case ["job", "run_id"]:
                    found = self.id
                case ["task", "name"]:
                    found = task
                case ["tasks", other, "values", name] if name in self.values.get(other, {}):
                    found = self.values[other][name]
                case _:
                    raise BundleError(f"Job '{self.key}': {match[0]} has no value on the laptop.")
            return str(found).lower() if isinstance(found, bool) else str(found)

        return DYNAMIC.sub(look_up, str(value).lower() if isinstance(value, bool) else str(value))


def _needs(task: dict[str, Any]) -> set[str]:
    return {needed["task_key"] for needed in task.get("depends_on", [])}


def _refuse_unknown(where: str, found: dict[str, Any], known: set[str]) -> None:
    if unknown := found.keys() - known:
        raise BundleError(f"{where}: the laptop does not know '{min(unknown)}'.")


# A fork of a process that has imported everything starts at once. Only Linux forks safely after such imports.
PROCESSES: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
if sys.platform == "linux":
    PROCESSES.set_forkserver_preload(["local.preload"])
