"""Task `predict`: batch inference with the champion."""

import logging
from collections.abc import Callable
from datetime import date, timedelta

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PyFuncModel
from pyspark import cloudpickle
from pyspark.sql import Column
from pyspark.sql import functions as F

from ..platform import registry, tables
from ..platform.data import ROW
from ..platform.parameters import run
from ..problem import model as problem_model
from ..problem.features import FEATURES
from ..problem.model import PREDICTION, prediction

logger = logging.getLogger(__name__)


def scorer(model: PyFuncModel) -> Callable[[Column], Column]:
    """Return the Spark function that gives a struct of PREDICTION for a struct of the model's inputs.

    The pickled model travels inside the function. So workers fetch nothing, which would fail on serverless compute.
    Each task unpickles it once, then scores batch after batch. `predict` of MLflow holds them against the signature.
    """
    cloudpickle.register_pickle_by_value(problem_model)  # workers may not have this package

    @F.pandas_udf(", ".join(f"{name} {kind}" for name, kind in PREDICTION.items()))  # type: ignore[call-overload]
    def score(inputs: pd.DataFrame) -> pd.DataFrame:
        return prediction(np.asarray(model.predict(inputs)).reshape(len(inputs), -1))

    return score


def predict(schema: str, model: str, run_date: date, days: int, git_commit: str) -> None:
    """Score the `days` days before `run_date` of `<schema>.features` into `<schema>.predictions`.

    Scoring a day again replaces that day's rows. Each row carries the model version and the code commit that made it.

    Raises:
        RegistryError: if `model` has no champion yet.
    """
    client = registry.connect()
    champion = registry.get(client, model, registry.CHAMPION)
    spark = tables.spark_session()
    # The version, not the alias: every row of this run is scored by one model, even if the champion changes meanwhile.
    loaded = mlflow.pyfunc.load_model(f"models:/{model}/{champion.version}")
    known = set(loaded.metadata.get_input_schema().input_names())
    inputs = [name for name in FEATURES if name in known]  # the champion may be older than a feature
    period = tables.days("event_date", run_date - timedelta(days=days), run_date)
    rows = (
        tables.read(spark, f"{schema}.features")
        .where(period)
        .withColumn("scored", scorer(loaded)(F.struct(*inputs)))
        .select(
            *ROW,
            "event_date",
            "scored.*",
            F.lit(model).alias("model_name"),
            F.lit(int(champion.version)).alias("model_version"),
            F.lit(git_commit).alias("git_commit"),
            F.current_timestamp().alias("scored_at"),
        )
    )
    tables.replace(rows, f"{schema}.predictions", period)
    scored = tables.read(spark, f"{schema}.predictions").where(period).count()
    logger.info("%s rows before %s, by version %s", f"{scored:,}", run_date, champion.version)


def main() -> None:
    run(predict)
