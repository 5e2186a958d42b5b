"""Task `monitor`: compares what the champion scores with what it was trained on, and with the labels that arrived."""

import logging
from datetime import date, timedelta
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import Model
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ..platform import data, drift, evaluate, registry, report, tables
from ..platform.config import Monitoring, load_config
from ..platform.page import known
from ..platform.parameters import run, set_task_value
from ..platform.report import Finding
from ..problem import metrics
from ..problem.features import FEATURES
from ..problem.model import PREDICTION
from ..problem.source import KEY, LABEL

logger = logging.getLogger(__name__)

COLUMNS = """
    metric STRING, feature STRING, value DOUBLE, limit DOUBLE, alarm BOOLEAN, run_date DATE, environment STRING,
    model_version BIGINT
"""


class MonitoringError(RuntimeError):
    """The scored data is broken: training on it would not help."""


def data_findings(rows: int, shares: dict[str, Any], baseline: dict[str, Any], limits: Monitoring) -> list[Finding]:
    """Return volume, null rate and drift (PSI) of the scored rows against the champion's training `baseline`."""
    findings = [Finding("rows", "", float(rows), float(limits.min_rows), rows < limits.min_rows)]
    for name, actual in shares.items():
        if "edges" in baseline[name]:
            nulls = float(actual[-1])
            findings.append(Finding("null_rate", name, nulls, limits.max_null_rate, nulls > limits.max_null_rate))
        moved = drift.psi(baseline[name]["shares"], actual)
        findings.append(Finding("psi", name, moved, limits.max_psi, moved > limits.max_psi))
    return findings


def performance_findings(labelled: pd.DataFrame, limits: Monitoring) -> list[Finding]:
    """Return the quality of predictions whose label has arrived; no finding while there are too few to tell.

    Args:
        labelled: LABEL, and the columns PREDICTION.
    """
    if evaluate.too_few(evaluate.counts(labelled[LABEL]), limits.min_labels):
        return []
    findings = []
    for name, value in metrics.quality(labelled[LABEL], labelled[list(PREDICTION)]).items():
        least, most = limits.minimum.get(name), limits.maximum.get(name)
        limit = least if least is not None else most
        alarm = (least is not None and value < least) or (most is not None and value > most)
        findings.append(Finding(name, "", value, limit, alarm))
    return findings


def newly_labelled(
    spark: SparkSession, source_table: str, schema: str, start: date, end: date
) -> tuple[data.Part, dict[date, int]]:
    """Return LABEL and PREDICTION of the rows whose label arrived in [start, end), and how many are of which day."""
    predictions = tables.read(spark, f"{schema}.predictions")
    rows = predictions.join(data.labels(spark, source_table, start, end), KEY)
    volume = per_day(rows)
    return data.Part(rows, sum(volume.values())), volume


def per_day(rows: DataFrame) -> dict[date, int]:
    """Return how many of `rows` there are of each day."""
    return dict(rows.groupBy("event_date").count().collect())


def scored_rows(spark: SparkSession, schema: str, start: date, end: date) -> DataFrame:
    """Return features and predictions of [start, end)."""
    period = tables.days("event_date", start, end)
    predictions = tables.read(spark, f"{schema}.predictions").where(period).select(KEY, "event_date", *PREDICTION)
    features = tables.read(spark, f"{schema}.features").where(period).select(KEY, "event_date", *FEATURES)
    return predictions.join(features, [KEY, "event_date"])


def monitor(source_table: str, schema: str, model: str, experiment: str, run_date: date, environment: str) -> None:
    """Measure the last days of predictions, write `<schema>.monitoring_metrics`, and log a report to MLflow.

    Sets the task value `drift_detected`: true if features or predictions drifted, or quality fell, and the champion is
    old enough that training again can help.

    Raises:
        MonitoringError: if rows or values are missing. That calls for a look at the data, not for training.
    """
    client = registry.connect()
    champion = registry.get(client, model, registry.CHAMPION)
    metadata = Model.load(f"models:/{model}/{champion.version}").metadata or {}
    baseline = metadata["baseline"]
    limits = load_config().monitoring
    start = run_date - timedelta(days=limits.window_days)

    spark = tables.spark_session()
    scored = scored_rows(spark, schema, start, run_date)
    rows, shares = drift.measure(scored, baseline)
    newly, labels_per_day = newly_labelled(spark, source_table, schema, start, run_date)
    labelled = newly.take([LABEL, *PREDICTION], limits.max_rows, by=KEY)
    findings = data_findings(rows, shares, baseline, limits) + performance_findings(labelled, limits)

    table = f"{schema}.monitoring_metrics"
    of_run = {"run_date": run_date, "environment": environment, "model_version": int(champion.version)}
    # SQL has a null for what could not be measured; a NaN would be drawn, and compared.
    record = [vars(finding) | {"value": known(finding.value)} | of_run for finding in findings]
    tables.replace(spark.createDataFrame(record, COLUMNS), table, F.col("run_date") == F.lit(run_date))
    quarter = tables.days("run_date", run_date - timedelta(days=report.DAYS_BACK), run_date + timedelta(days=1))
    past = [row.asDict() for row in tables.read(spark, table).where(quarter).orderBy("run_date").collect()]
    volumes = {"scored rows": per_day(scored), "labels that arrived, by the day of their row": labels_per_day}
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"monitor {run_date}"):
        mlflow.set_tags({"environment": environment, "model_version": champion.version})
        named = {"_".join(filter(None, (row["metric"], row["feature"]))): row["value"] for row in record}
        mlflow.log_metrics({name: value for name, value in named.items() if value is not None})
        title = f"{model}, version {champion.version}, {start} to {run_date} in {environment}"
        mlflow.log_text(report.render(title, findings, baseline, shares, past, volumes), "report.html")

    alarms = [finding for finding in findings if finding.alarm]
    for alarm in alarms:
        logger.warning("%s %s is %.3f, limit %s", alarm.metric, alarm.feature, alarm.value, alarm.limit)
    broken = [alarm for alarm in alarms if alarm.metric in ("rows", "null_rate")]
    age = run_date - date.fromisoformat(champion.tags["training_date"])
    drifted = bool(alarms) and not broken and age.days >= limits.retrain_after_days
    set_task_value("drift_detected", drifted)
    if broken:
        raise MonitoringError(
            "\n  - ".join(
                [f"The scored data of {model} is broken, look at {schema}.features:"]
                + [f"{alarm.metric} {alarm.feature} is {alarm.value:.3f}, limit {alarm.limit}" for alarm in broken]
            )
        )
    first = ", ".join(alarm.feature or alarm.metric for alarm in alarms[:3]) or "none"
    logger.info("%s rows; alarms: %s; drift_detected is %s", f"{rows:,}", first, drifted)


def main() -> None:
    run(monitor)
