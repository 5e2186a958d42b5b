"""Task `predict`: batch inference with the champion."""

import logging
from collections.abc import Callable
from datetime import date, timedelta

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PyFuncModel
from pyspark.sql import Column
from pyspark.sql import functions as F

from . import registry, tables
from .drift import SCORE
from .features import FEATURES
from .task import run

logger = logging.getLogger(__name__)


def scorer(model: PyFuncModel) -> Callable[[Column], Column]:
    """Return the Spark function that gives the probability of 1 for a struct of FEATURES.

    The pickled model travels inside the function. So workers fetch nothing, which is what serverless compute fails at.
    Each task unpickles it once, then scores batch after batch. `predict` of MLflow holds them against the signature.
    """

    @F.pandas_udf("double")  # type: ignore[call-overload]  # whose types know no structs
    def score(inputs: pd.DataFrame) -> pd.Series:
        return pd.Series(np.asarray(model.predict(inputs))[:, 1])

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
    score = scorer(mlflow.pyfunc.load_model(f"models:/{model}/{champion.version}"))
    period = tables.days("event_date", run_date - timedelta(days=days), run_date)
    rows = (
        tables.read(spark, f"{schema}.features")
        .where(period)
        .select(
            "transaction_id",
            "event_time",
            "event_date",
            score(F.struct(*FEATURES)).alias(SCORE),
            F.lit(model).alias("model_name"),
            F.lit(int(champion.version)).alias("model_version"),
            F.lit(git_commit).alias("git_commit"),
            F.current_timestamp().alias("scored_at"),
        )
    )
    tables.replace(rows, f"{schema}.predictions", period)
    logger.info("scored the %d days before %s with version %s of %s", days, run_date, champion.version, model)


def main() -> None:
    run(predict)
