"""Tries a staged room `problem`: what a constant and a first model reach, on the own rows and on made-up ones.

A process of its own (`python -m local.adopt.trial FOLDER`), since it imports the package as it would be.
"""

import json
import os
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from sklearn.dummy import DummyClassifier, DummyRegressor

from {{ cookiecutter.package_name }}.platform import data, tables
from {{ cookiecutter.package_name }}.platform.config import load_config
from {{ cookiecutter.package_name }}.platform.evaluate import predicted
from {{ cookiecutter.package_name }}.problem import metrics, model, source
from {{ cookiecutter.package_name }}.problem.features import FEATURES
from {{ cookiecutter.package_name }}.tasks import features

from ..engine import environment, open_session, spark_server
from . import CALENDAR, ROWS
from .profile import WINDOW
from .rows import made_up, own_rows

MADE_UP_PER_DAY, MADE_UP_DAYS = 150, 60  # as few as the tests of the project learn from
DRIFT_DAYS = 35  # as in the lifecycle
RESULT = "trial.json"
Metrics = dict[str, float]
NO_THRESHOLDS: dict[str, Any] = {
    "minimum": {},
    "maximum": {},
    "max_regression": {},
    "min_labels": {"rows": 1},
    "monitoring_labels": {"rows": 1},
    "monitoring_minimum": {},
    "monitoring_maximum": {},
    "reached": "",
}


def main() -> None:
    """Write the thresholds that follow from the trial into the folder that the argument names."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / CALENDAR).read_text(encoding="utf-8"))
    os.environ.update(environment(folder))
    for schema in ("own", "made_up", "drifted"):
        (folder / "lakehouse" / "trial" / schema).mkdir(parents=True)
    with spark_server(["trial"]):
        spark = open_session(folder / "lakehouse")
        tables.create(own_rows(spark, folder / ROWS), "trial.own.source")
        own = tables.read(spark, "trial.own.source")
        if broken := data.broken_rules(own):
            raise RuntimeError("\n".join(broken))
        today = date.fromisoformat(task["today"])
        first, later = today - timedelta(days=MADE_UP_DAYS), today + timedelta(days=DRIFT_DAYS)
        tables.create(made_up(spark, first, today, MADE_UP_PER_DAY), "trial.made_up.source")
        trials = [
            measure(spark, "trial.own", today, WINDOW),
            measure(spark, "trial.made_up", today, MADE_UP_DAYS),
        ]
        drifted = made_up(spark, today, later, int(task["rows_per_day"]), drift=True)
        tables.create(own.unionByName(drifted) if source.TIME else drifted, "trial.drifted.source")
        trials.append(measure(spark, "trial.drifted", later, WINDOW))
    (folder / RESULT).write_text(json.dumps(thresholds(trials)), encoding="utf-8")


def measure(spark: SparkSession, schema: str, today: date, days: int) -> dict[str, Any]:
    """Return what a constant and a model reach on the holdout of `<schema>.source`, called as the tasks do."""
    start = today - timedelta(days=days)
    features.features(f"{schema}.source", schema, today, days)
    rows = data.labelled(spark, f"{schema}.source", f"{schema}.features", start, today)
    limit = load_config().training.max_rows
    training, holdout = (part.take([*FEATURES, source.LABEL], limit) for part in data.split(rows))
    constant = DummyRegressor() if model.PREDICT == "predict" else DummyClassifier(strategy="prior")
    constant.fit(training[FEATURES], training[source.LABEL])
    fitted = model.fit(training, model.PARAMETERS)

    labels = holdout[source.LABEL].reset_index(drop=True)
    reached = predicted(fitted, holdout)
    return {
        "constant": metrics.quality(labels, predicted(constant, holdout)),
        "model": metrics.quality(labels, reached),
        "chance": chance(labels, reached),
        "rows": len(holdout),
        "counts": metrics.counts(labels),
        "training_rows": len(training),
    }


def chance(labels: pd.Series, prediction: pd.DataFrame) -> Metrics:
    """Return the standard deviation of each metric over samples of the holdout, drawn with replacement."""
    rng, draws = np.random.default_rng(7), []
    for _ in range(20):
        drawn = rng.integers(len(labels), size=min(len(labels), 20_000))
        some = labels.iloc[drawn].reset_index(drop=True)
        draws.append(metrics.quality(some, prediction.iloc[drawn].reset_index(drop=True)))
    return {str(name): float(value) for name, value in pd.DataFrame(draws).std().fillna(0.0).items()}


def thresholds(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers of config.yml, which every one of `trials` passes. The first of them is that of the own rows.

    A model must keep half of what the first one gained over a constant prediction, with room for chance.

    Raises:
        ValueError: if a holdout lacks a class, so that its metrics cannot be computed.
    """
    own = trials[0]
    limits: dict[bool, Metrics] = {True: {}, False: {}}
    max_regression: Metrics = {}
    for metric, up in metrics.HIGHER_IS_BETTER.items():
        worst = []
        for trial in trials:
            reached, constant, deviation = (trial[of][metric] for of in ("model", "constant", "chance"))
            if np.isnan(reached):
                raise ValueError(f"the newest {trial['rows']} labels are not enough to compute {metric}")
            room = max(abs(reached - constant) / 2, 3 * deviation)
            worst.append(reached - room if up else reached + room)
        limits[up][metric] = rounded(min(worst) if up else max(worst))
        gain = abs(own["model"][metric] - own["constant"][metric])
        max_regression[metric] = rounded(max(gain / 20, 2 * own["chance"][metric]))
    rows = min(min(trial["rows"] for trial in trials) // 2, 1000)
    counts = {name: min(int(min(trial["counts"][name] for trial in trials)) // 2, 20) for name in own["counts"]}
    (main_metric, up), *_ = metrics.HIGHER_IS_BETTER.items()
    alarm = {main_metric: limits[up][main_metric]}
    gain = own["model"][main_metric] - own["constant"][main_metric]
    return {
        "minimum": limits[True],
        "maximum": limits[False],
        "max_regression": max_regression,
        "min_labels": {"rows": rows, **counts},
        "monitoring_labels": {"rows": min(rows, 200), **counts},
        "monitoring_minimum": alarm if up else {},
        "monitoring_maximum": {} if up else alarm,
        "reached": f"{main_metric}: {own['model'][main_metric]:.4g} reached, "
        f"{own['constant'][main_metric]:.4g} by a constant.",
        "gained": gain * (1 if up else -1) > own["chance"][main_metric],
        "trials": trials,
    }


def rounded(value: float) -> float:
    """Return `value` with three significant digits."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
