"""The environments of the laptop, for the command line `models` and for the lifecycle."""

import os
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from fraud_detection import models
from fraud_detection.platform import registry

from .bundle import load_bundle
from .engine import deployed_commits
from .variables import variables


@dataclass(frozen=True)
class LaptopEnvironment(models.Environment):
    """One target of the bundle, as it is on the laptop."""

    root: Path

    def connect(self) -> MlflowClient:
        """Point MLflow at the laptop, and return a client of its registry."""
        os.environ.update(variables(self.root))
        return registry.connect()

    def deployed_commit(self) -> str:
        """Return the git commit that was deployed last, `-` if none was."""
        return deployed_commits(self.root).get(self.name, "-")


def open_environment(root: Path, name: str) -> LaptopEnvironment:
    """Return the environment `name` of the project in `root`."""
    bundle = load_bundle(root, name)
    return LaptopEnvironment(name, bundle["resources"], bundle["workspace"]["host"], root)
