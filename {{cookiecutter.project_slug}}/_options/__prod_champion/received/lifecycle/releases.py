"""What the lifecycle is told with where an environment receives its model: releases, approvals, interruptions."""

from datetime import date
from typing import Any

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.platform import registry

from .story import BrokenPromiseError, Story
from local.bundle import load_bundle
from local.jobs import JobError, JobRun
from local.terminal import say


class ReleaseStory(Story):
    """A story in which model versions move between environments."""

    def promote(self, target: str, run_date: date, version: str = registry.CHAMPION, approved_by: str = "") -> None:
        """Release a model version of the environment before `target` to it, as of `run_date`."""
        before = models.TARGETS[models.TARGETS.index(target) - 1]
        wanted = {"source_model": self.model(before), "source_version": version}
        if approved_by:
            source = registry.get(registry.connect(), self.model(before), version)
            decision = {"approved_by": approved_by, "approval_reason": "release"}
            wanted |= decision | {"approved_evidence": registry.evidence(source)}
        self.run(target, "promotion", run_date, **wanted)

    def stopped(
        self, target: str, run_date: date, because: str, version: str = registry.CHAMPION, approved_by: str = ""
    ) -> None:
        """Start a release that must stop with `because` in what it says."""
        try:
            self.promote(target, run_date, version, approved_by)
        except JobError as error:
            self.promise(because in str(error), f"the release to {target} stops: {because}")
        else:
            raise BrokenPromiseError(f"the release to {target} should have stopped: {because}")

    def interrupted(self, target: str, run_date: date, after: str) -> None:
        """Start a release that is cut off after the task `after`, as if the cluster had died."""
        say(f"({target} promotion is cut off after {after})", indent="    ")
        JobRun(self.machine, self.machine.deploy(target), "promotion", {"run_date": run_date.isoformat()}).run(after)

    def approve(self, target: str, by: str) -> None:
        """Approve the challenger of `target`."""
        environment = self.environment(target)
        waiting = models.show(environment, registry.CHALLENGER)
        say(models.approve(environment, waiting["version"], by, "reviewed", waiting["evidence"]), indent="    ")

    def deploy(self, target: str) -> None:
        """Release the code to `target`, and run nothing."""
        self.machine.deploy(target)

    def catalog(self, target: str) -> str:
        """Return the catalog of `target`."""
        return load_bundle(self.machine.root, target)["var"]["catalog"]

    def snapshot(self, target: str) -> tuple[Any, ...]:
        """Return what a release may change in `target`: aliases, versions with their tags, the release log."""
        client, model = registry.connect(), self.model(target)
        versions = {found.version: found.tags for found in registry.versions(client, model)}
        log = sorted(map(str, self.table(target, "release_log").collect()))
        return client.get_registered_model(model).aliases, versions, log
