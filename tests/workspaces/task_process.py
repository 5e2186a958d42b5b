"""A task of a job in a process of its own. Importing this module imports what tasks of a workspace need."""

import os

# Imported here so that the process which all tasks are forked from has paid for it once.
import databricks.sdk  # noqa: F401
import mlflow.store._unity_catalog.registry.rest_store  # noqa: F401

import local.preload  # noqa: F401
from local.task import TaskRun, execute


def execute_as(environment: dict[str, str], run: TaskRun) -> None:
    """Run a task in this process, with the variables that a job of a workspace has."""
    os.environ.update(environment)
    execute(run)
