"""Task `predict`: batch inference with the champion."""

import logging
from datetime import date, timedelta

import mlflow
from pyspark.sql import functions as F

from . import registry, tables
from .drift import SCORE
from .features import FEATURES
from .task import run

logger = logging.getLogger(__name__)


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
    score = mlflow.pyfunc.spark_udf(
        spark, f"models:/{model}/{champion.version}", result_type="array<double>", env_manager="local"
    )
    period = tables.days("event_date", run_date - timedelta(days=days), run_date)
    rows = (
        tables.read(spark, f"{schema}.features")
        .where(period)
        .select(
            "transaction_id",
            "event_time",
            "event_date",
            score(F.struct(*FEATURES))[1].alias(SCORE),
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
