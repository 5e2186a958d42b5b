"""What the lifecycle is told with: steps that say what happens, and promises that must hold afterwards."""

import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow

from fraud_detection import models
from fraud_detection.platform import registry

from local.adopt import calendar
from local.adopt.rows import arrive
from local.bundle import load_bundle
from local.engine import STATE, open_session
from local.environment import open_environment
from local.jobs import JobError, Laptop
from local.terminal import say

DAY_ONE = date(2026, 3, 2)


class BrokenPromiseError(AssertionError):
    """The state of an environment is not what the deployment pattern promises."""


class Story:
    """Runs jobs on the laptop and checks what they leave behind."""

    def __init__(self, machine: Laptop) -> None:
        self.machine = machine
        self.started = time.perf_counter()
        self.steps = 0
        # Of adopted rows, the story begins with all but those of the newest week, which arrive when it is over.
        adopted = calendar(machine.root)
        self.day_one = date.fromisoformat(adopted["today"]) - timedelta(days=7) if adopted else DAY_ONE

    def step(self, title: str) -> None:
        """Announce what happens next."""
        self.steps += 1
        say(f"\n{self.steps}. {title}  [{time.perf_counter() - self.started:.0f} s]", "bold cyan")

    def run(self, target: str, job: str, run_date: date, **parameters: object) -> None:
        """Run a job as of `run_date`."""
        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in parameters.items()
        }
        if job == "sample_data":
            arrive(self.machine.root, target, run_date, drift=bool(parameters.get("drift")))
        self.machine.run(target, job, {"run_date": run_date.isoformat(), **texts})

    def refused(self, target: str, job: str, run_date: date, because: str, **parameters: object) -> None:
        """Run a job that must fail with `because` in what it says."""
        try:
            self.run(target, job, run_date, **parameters)
        except JobError as error:
            self.promise(because in str(error), f"{job} in {target} is refused: {because}")
        else:
            raise BrokenPromiseError(f"{job} in {target} should have been refused: {because}")

    def promise(self, holds: bool, text: str) -> None:
        """Print `text` if it holds.

        Raises:
            BrokenPromiseError: if it does not.
        """
        if not holds:
            raise BrokenPromiseError(text)
        say(f"-> {text}", "green", indent="    ")

    def environment(self, target: str) -> models.Environment:
        """Return `target` as the command line `models` works on it."""
        return open_environment(self.machine.root, target)

    def model(self, target: str) -> str:
        """Return the three-part name of the model of `target`."""
        return self.environment(target).model

    def roll_back(self, target: str, reason: str) -> None:
        """Return to the previous champion of `target`."""
        say(models.roll_back(self.environment(target), "lifecycle", reason), indent="    ")

    def version(self, target: str, alias: str = registry.CHAMPION) -> Any:
        """Return the model version behind an alias in `target`, None if there is none."""
        return registry.find(registry.connect(), self.model(target), alias)

    def number(self, target: str, alias: str = registry.CHAMPION) -> int | None:
        """Return the version number behind an alias in `target`, None if there is none."""
        version = self.version(target, alias)
        return int(version.version) if version else None

    def table(self, target: str, name: str) -> Any:
        """Return a table of `target` as a Spark data frame."""
        bundle = load_bundle(self.machine.root, target)
        lakehouse = self.machine.root.resolve() / STATE / "lakehouse"
        return open_session(lakehouse).table(
            ".".join(f"`{part}`" for part in (*bundle["resources"]["schemas"]["schema"]["id"].split("."), name))
        )

    def save_report(self, target: str) -> Path:
        """Copy the newest monitoring report of `target` to `.local/report.html`, and return that path."""
        client = mlflow.MlflowClient()
        name = load_bundle(self.machine.root, target)["resources"]["experiments"]["experiment"]["name"]
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        (newest,) = client.search_runs(
            [experiment.experiment_id], "tags.mlflow.runName LIKE 'monitor %'", max_results=1
        )
        state = self.machine.root.resolve() / STATE
        return Path(mlflow.artifacts.download_artifacts(f"runs:/{newest.info.run_id}/report.html", dst_path=str(state)))


def play(machine: Laptop, tell: Callable[[Laptop], None]) -> None:
    """Play a story on an empty laptop, and end with the state of every environment.

    Raises:
        BrokenPromiseError: as soon as an environment is not in the state that the pattern promises.
        JobError: if a job fails that should succeed.
    """
    started = time.perf_counter()
    tell(machine)
    report = Story(machine).save_report("prod")
    environments = [open_environment(machine.root, target) for target in models.TARGETS]
    say("\nWhat serves where", "bold cyan")
    print(f"\n{models.status(environments)}\n")
    say(f"Monitoring report: {report.relative_to(machine.root.resolve())}")
    say(f"Everything the pattern promises holds ({time.perf_counter() - started:.0f} s).", "bold green")
