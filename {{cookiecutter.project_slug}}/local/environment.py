"""The environments of the laptop, for the command line `models` and for the lifecycle."""

import os
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.platform import registry

from .bundle import load_bundle
from .engine import deployed_commits, environment
from .jobs import JobError, laptop
{%- if cookiecutter.__realtime == "yes" %}
from .serving import environment as serving_environment
{%- endif %}


@dataclass(frozen=True)
class LaptopEnvironment(models.Environment):
    """One target of the bundle, as it is on the laptop."""

    root: Path

    def connect(self) -> MlflowClient:
        """Point MLflow at the laptop, and return a client of its registry."""
        os.environ.update(environment(self.root))
{%- if cookiecutter.__realtime == "yes" %}
        os.environ.update(serving_environment(self.root))
{%- endif %}
        return registry.connect()

    def deployed_commit(self) -> str:
        """Return the git commit that was deployed last, `-` if none was."""
        return deployed_commits(self.root).get(self.name, "-")

    def run(self, job: str, parameters: dict[str, str]) -> None:
        """Run a job of this environment to its end.

        Raises:
            CommandError: if the run fails.
        """
        try:
            with laptop(self.root) as machine:
                machine.run(self.name, job, parameters)
        except JobError as error:
            raise models.CommandError(str(error)) from None


def open_environment(root: Path, name: str) -> LaptopEnvironment:
    """Return the environment `name` of the project in `root`."""
    bundle = load_bundle(root, name)
    return LaptopEnvironment(name, bundle["resources"], bundle["workspace"]["host"], root)
