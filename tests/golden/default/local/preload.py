"""What tasks import. The process that all of them are forked from has paid for it once."""

from . import task  # noqa: F401, I001 - first, because it makes this process fit for PySpark

import gc
from importlib import import_module
from pkgutil import iter_modules

import git  # noqa: F401 - MLflow asks it for the commit of a run
import matplotlib.backends.backend_agg  # noqa: F401
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.store.model_registry.sqlalchemy_workspace_store
import mlflow.store.tracking.sqlalchemy_workspace_store  # noqa: F401
import pyspark.sql.connect.session  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401
from mlflow.utils.requirements_utils import warn_dependency_requirement_mismatches

from fraud_detection import tasks

for module in iter_modules(tasks.__path__, f"{tasks.__name__}."):
    import_module(module.name)
# MLflow reads the metadata of all packages when it first logs or loads a model, and remembers it.
warn_dependency_requirement_mismatches(["mlflow"])
# Without it, each fork would copy these objects when it looks for garbage among them.
gc.freeze()
