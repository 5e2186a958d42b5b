"""Task `check_results`: what must hold after training, inference and monitoring ran in the integration test."""

import logging
from datetime import date, timedelta

from pyspark.sql import functions as F

from ..platform import registry, tables
from ..platform.parameters import run
from ..problem.model import PREDICTION_RULES
from ..problem.source import KEY

logger = logging.getLogger(__name__)


def check_results(schema: str, model: str, run_date: date, days: int) -> None:
    """Check the champion of `model`, and the predictions and monitoring metrics of the run.

    Raises:
        AssertionError: lists everything that does not hold.
    """
    client = registry.connect()
    champion = registry.get(client, model, registry.CHAMPION)
    spark = tables.spark_session()
    period = tables.days("event_date", run_date - timedelta(days=days), run_date)
    features = tables.read(spark, f"{schema}.features").where(period).count()
    predictions = tables.read(spark, f"{schema}.predictions").where(period)
    scored = predictions.agg(
        F.count("*").alias("rows"),
        F.countDistinct(KEY).alias("keys"),
        F.count(F.when(F.col("model_version") == int(champion.version), 1)).alias("by_champion"),
        *(F.count(F.when(F.expr(rule), 1)).alias(sentence) for sentence, rule in PREDICTION_RULES.items()),
    ).collect()[0]
    metrics = tables.read(spark, f"{schema}.monitoring_metrics").where(F.col("run_date") == F.lit(run_date))
    measured = {row["metric"] for row in metrics.select("metric").distinct().collect()}

    expectations = {
        f"every one of {features} feature rows is scored, not {scored['rows']}": features == scored["rows"] > 0,
        "no row is scored twice": scored["keys"] == scored["rows"],
        **{f"of every row, {sentence}": scored[sentence] == scored["rows"] for sentence in PREDICTION_RULES},
        "every row is scored by the champion": scored["by_champion"] == scored["rows"],
        "the champion passed the gate": champion.tags.get("validation_status") == "PASSED",
        "the champion names its commit and its data": {"git_commit", "training_table", "training_table_version"}
        <= champion.tags.keys(),
        f"monitoring measured rows, null_rate and psi, not {measured}": {"rows", "null_rate", "psi"} <= measured,
    }
    broken = [expectation for expectation, holds in expectations.items() if not holds]
    if broken:
        raise AssertionError("\n  - ".join(["This does not hold after the run:", *broken]))
    logger.info("all %d expectations hold", len(expectations))


def main() -> None:
    run(check_results)
