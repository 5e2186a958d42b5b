"""The laptop for notebooks: Spark and MLflow are there as long as the kernel is."""

import atexit
import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from .bundle import load_bundle, target_names
from .engine import STATE, open_session, spark_server
from .variables import variables

ROOT = Path(__file__).parents[1]


def open_dev() -> tuple[str, str]:
    """Point Spark and MLflow at the laptop's dev, and return the three-part names of its model and its source table.

    Call it again to see tables that a job has made meanwhile.
    """
    start()
    open_session(ROOT.resolve() / STATE / "lakehouse")
    bundle = load_bundle(ROOT, "dev")
    return bundle["resources"]["registered_models"]["model"]["id"], bundle["var"]["source_table"]


@cache
def start() -> None:
    """Start Spark, once in a kernel, and stop it at the end."""
    os.environ.update(variables(ROOT))
    catalogs = [load_bundle(ROOT, target)["var"]["catalog"] for target in target_names(ROOT)]
    server = ExitStack()
    server.enter_context(spark_server(list(dict.fromkeys(catalogs))))
    atexit.register(server.close)
