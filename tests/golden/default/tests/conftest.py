"""One Spark server, one MLflow registry and one lakehouse for all tests, in a temporary folder."""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession

from fraud_detection.platform import registry

from local.engine import STATE, open_session, spark_server
from local.variables import variables

os.environ.setdefault("OMP_NUM_THREADS", "1")  # scikit-learn's threads would only wait for each other on small data

CATALOG = "test-catalog"  # a dash, as real catalogs may have


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the test's own laptop state. MLflow keeps its registry there."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables(root).items():
            patch.setenv(name, value)
        yield root


@pytest.fixture(scope="session")
def mlflow_client(home: Path) -> MlflowClient:
    """The client of a registry of the tests' own."""
    return registry.connect()


@pytest.fixture(scope="session")
def spark(home: Path) -> Iterator[SparkSession]:
    """A Spark session that needs no Java. Its times are in UTC."""
    with spark_server([CATALOG]):
        yield open_session(home / STATE / "lakehouse")


@pytest.fixture(scope="session")
def new_schema(spark: SparkSession, home: Path) -> Callable[..., str]:
    """Return a function that creates an empty schema and returns its two-part name.

    Sample data depends on the name of its table, so a test that trains on some gives its schema a name.
    """
    numbers = count(1)

    def create(name: str = "") -> str:
        name = name or f"schema_{next(numbers)}"
        folder = home / STATE / "lakehouse" / CATALOG / name
        folder.mkdir(parents=True)
        spark.sql(f"CREATE SCHEMA `{CATALOG}`.`{name}` LOCATION '{folder.as_posix()}'")
        return f"{CATALOG}.{name}"

    return create


@pytest.fixture
def schema(new_schema: Callable[..., str]) -> str:
    """The two-part name of an empty schema."""
    return new_schema()


@pytest.fixture(scope="session")
def task_values() -> Iterator[dict[str, Any]]:
    """The values that tasks published, by key; stands in for `dbutils`, which exists only where a job runs."""
    values: dict[str, Any] = {}
    runtime = ModuleType("databricks.sdk.runtime")
    task_values = SimpleNamespace(set=lambda key, value: values.update({key: value}))
    vars(runtime)["dbutils"] = SimpleNamespace(jobs=SimpleNamespace(taskValues=task_values))
    vars(runtime)["is_local_implementation"] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "databricks.sdk.runtime", runtime)
        yield values
