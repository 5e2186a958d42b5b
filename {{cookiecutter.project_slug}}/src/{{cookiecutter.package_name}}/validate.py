"""Task `validate`: the gate. A challenger that does not pass stops the run, and the champion stays."""

import logging
from datetime import date, timedelta
from typing import Any

import mlflow
import pandas as pd
from pyspark.sql import functions as F

from . import data, registry, tables
from .config import load_config
from .evaluate import evaluate
from .task import run

logger = logging.getLogger(__name__)


class GateError(RuntimeError):
    """The challenger did not pass."""


def objections(metrics: dict[str, float], champion: dict[str, float] | None, gate: dict[str, Any]) -> list[str]:
    """Return why a challenger must not serve; an empty list lets it pass.

    Args:
        metrics: of the challenger, from `evaluate`. A metric that is missing or NaN objects.
        champion: metrics of the champion on the same rows, None for the first model.
        gate: the section `gate` of config.yml.
    """
    nan = float("nan")
    reasons = []
    for name, least in (("rows", gate["min_holdout_rows"]), ("positives", gate["min_holdout_positives"])):
        if not metrics.get(name, nan) >= least:
            reasons.append(f"holdout has {metrics.get(name, nan):.0f} {name}, needs {least}")
    for name, least in gate["minimum"].items():
        if not metrics.get(name, nan) >= least:
            reasons.append(f"{name} is {metrics.get(name, nan):.4f}, must be at least {least}")
    for name, most in gate["maximum"].items():
        if not metrics.get(name, nan) <= most:
            reasons.append(f"{name} is {metrics.get(name, nan):.4f}, must be at most {most}")
    for name, tolerance in gate["max_regression"].items() if champion else ():
        if not metrics.get(name, nan) >= champion[name] - tolerance:
            reasons.append(
                f"{name} is {metrics.get(name, nan):.4f}, "
                f"more than {tolerance} below the champion's {champion[name]:.4f}"
            )
    return reasons


def validate(
    source_table: str, schema: str, model: str, experiment: str, run_date: date, days: int, environment: str
) -> None:
    """Compare the challenger of `model` with the thresholds and with the champion, on this environment's newest labels.

    The outcome is a tag of the version (`validation_status` PASSED or FAILED), an MLflow run, and rows in
    `<schema>.evaluations`.

    Raises:
        GateError: lists every objection.
    """
    client = registry.connect()
    challenger = registry.get(client, model, registry.CHALLENGER)
    champion = registry.find(client, model, registry.CHAMPION)
    # Until this run has decided, nothing may rest on what an earlier one decided.
    registry.tag(client, challenger, validation_status="PENDING")

    spark = tables.spark_session()
    rows = data.labelled(spark, source_table, f"{schema}.features", run_date - timedelta(days=days), run_date)
    _, holdout = data.split(rows, load_config()["training"]["holdout_days"])
    metrics = {
        version.version: evaluate(mlflow.pyfunc.load_model(f"models:/{model}/{version.version}").predict, holdout)
        for version in (challenger, champion)
        if version is not None
    }
    reasons = objections(
        metrics[challenger.version], metrics[champion.version] if champion else None, load_config()["gate"]
    )
    status = "FAILED" if reasons else "PASSED"

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"validate version {challenger.version}") as active:
        mlflow.set_tags({"validation_status": status, "model_version": challenger.version, "environment": environment})
        mlflow.log_metrics(metrics[challenger.version])
        mlflow.log_dict({"metrics": metrics, "objections": reasons}, "validation.json")
    record = pd.DataFrame(
        [
            {
                "run_date": run_date,
                "environment": environment,
                "model_version": int(challenger.version),
                "compared_version": int(version),
                "metric": name,
                "value": value,
                "validation_status": status,
            }
            for version, values in metrics.items()
            for name, value in values.items()
        ]
    )
    mine = (F.col("run_date") == F.lit(run_date)) & (
        F.col("model_version") == F.lit(int(challenger.version))
    )
    tables.replace(spark.createDataFrame(record), f"{schema}.evaluations", mine)
    registry.tag(
        client,
        challenger,
        validation_status=status,
        validation_run=active.info.run_id,
        validated_at=registry.now(),
        validation_objections="; ".join(reasons) or "none",
        **{name: f"{value:.4f}" for name, value in metrics[challenger.version].items()},
    )
    if reasons:
        raise GateError(
            "\n  - ".join(
                [f"Version {challenger.version} of {model} did not pass, the champion stays as it was:", *reasons]
            )
        )
    logger.info("version %s of %s passes: %s", challenger.version, model, metrics[challenger.version])


def main() -> None:
    run(validate)
