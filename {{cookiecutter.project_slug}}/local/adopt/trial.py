"""Tries a staged room `problem`: what a constant and a first model reach, on the own rows and on made-up ones.

A process of its own (`python -m local.adopt.trial FOLDER`), since it imports the package as it would be.
"""

import json
import os
import sys
from collections.abc import Callable
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier, DummyRegressor

from ..engine import environment, open_session, spark_server
from .profile import WINDOW

MADE_UP_PER_DAY, MADE_UP_DAYS = 1000, 60  # as in the integration test, which learns from a fifth of them
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
    "min_rows": 1,
    "reached": "",
}


class Package:
    """The modules of the package that the trial calls, by the name of the package."""

    def __init__(self, name: str) -> None:
        def module(path: str) -> Any:
            return import_module(f"{name}.{path}")

        self.data, self.tables = module("platform.data"), module("platform.tables")
        self.features, self.model = module("problem.features"), module("problem.model")
        self.metrics, self.sample = module("problem.metrics"), module("problem.sample")
        self.source, self.task = module("problem.source"), module("tasks.features")


def main() -> None:
    """Write the thresholds that follow from the trial into the folder that the argument names."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    os.environ.update(environment(folder))
    package = Package(task["package"])
    lakehouse = folder / "lakehouse"
    for schema in ("own", "made_up", "drifted"):
        (lakehouse / "trial" / schema).mkdir(parents=True)
    with spark_server(["trial"]):
        spark = open_session(lakehouse)
        columns = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in package.source.COLUMNS.items()]
        own = spark.read.parquet(str(folder / "source.parquet")).selectExpr(*columns)
        package.tables.create(own, "trial.own.source")
        if broken := package.data.broken_rules(package.tables.read(spark, "trial.own.source")):
            raise RuntimeError("\n".join(broken))
        today = date.fromisoformat(task["today"] or "2026-03-02")
        types = ", ".join(f"`{name}` {kind}" for name, kind in package.source.COLUMNS.items())
        first = today - timedelta(days=WINDOW)
        made_up = package.sample.generate(first, today, MADE_UP_PER_DAY, seed=1)
        package.tables.create(spark.createDataFrame(made_up, types), "trial.made_up.source")
        trials = [
            measure(package, spark, "trial.own", today, WINDOW, 1.0),
            measure(package, spark, "trial.made_up", today, MADE_UP_DAYS, 0.2),
        ]
    (folder / RESULT).write_text(json.dumps(thresholds(trials, package.metrics.HIGHER_IS_BETTER)), encoding="utf-8")


def measure(package: Package, spark: Any, schema: str, today: date, days: int, fraction: float) -> dict[str, Any]:
    """Return what a constant and a model reach on the holdout of `<schema>.source`, with the calls of the real tasks."""
    source, start = f"{schema}.source", today - timedelta(days=days)
    package.task.features(source, schema, today, days)
    rows = package.data.labelled(spark, source, f"{schema}.features", start, today)
    _, holdout = package.data.split(rows)
    part = package.data.labelled(spark, source, f"{schema}.features", start, today, fraction)
    training, _ = package.data.split(part)
    label, inputs = package.source.LABEL, package.features.FEATURES
    constant = DummyRegressor() if package.model.PREDICT == "predict" else DummyClassifier(strategy="prior")
    constant.fit(training[inputs], training[label])
    fitted = package.model.fit(training, package.model.PARAMETERS)

    def predicted(estimator: Any) -> pd.DataFrame:
        raw = getattr(estimator, package.model.PREDICT)(holdout[inputs])
        return package.model.prediction(raw.reshape(len(holdout), -1))

    labels = holdout[label].reset_index(drop=True)
    reached = predicted(fitted)
    return {
        "constant": package.metrics.quality(labels, predicted(constant)),
        "model": package.metrics.quality(labels, reached),
        "noise": noise(package.metrics.quality, labels, reached),
        "rows": len(holdout),
        "days": int(holdout["event_date"].nunique()),
        "counts": package.metrics.counts(labels),
        "training_rows": len(training),
    }


def noise(quality: Callable[[pd.Series, pd.DataFrame], Metrics], labels: pd.Series, prediction: pd.DataFrame) -> Metrics:
    """Return the standard deviation of each metric over samples of the holdout, drawn with replacement."""
    rng, draws = np.random.default_rng(7), []
    for _ in range(20):
        picked = rng.integers(len(labels), size=min(len(labels), 20_000))
        draws.append(quality(labels.iloc[picked].reset_index(drop=True), prediction.iloc[picked].reset_index(drop=True)))
    return pd.DataFrame(draws).std().fillna(0.0).to_dict()


def thresholds(trials: list[dict[str, Any]], higher_is_better: dict[str, bool]) -> dict[str, Any]:
    """Return the numbers of config.yml, which every one of `trials` passes. The first of them is that of the own rows.

    A model must keep half of what the first one gained over a constant prediction, with room for chance.
    """
    limits: dict[bool, Metrics] = {True: {}, False: {}}
    max_regression: Metrics = {}
    for metric, up in higher_is_better.items():
        worst = []
        for trial in trials:
            reached, constant, chance = (trial[of][metric] for of in ("model", "constant", "noise"))
            gain = abs(reached - constant)
            worst.append(reached - max(gain / 2, 3 * chance) if up else reached + max(gain / 2, 3 * chance))
            max_regression.setdefault(metric, rounded(max(gain / 20, 2 * chance)))
        limits[up][metric] = rounded(min(worst) if up else max(worst))
    own, *made_up = trials
    rows = min(trial["rows"] for trial in trials) // 2
    counts = {name: int(min(trial["counts"][name] for trial in trials) // 2) for name in own["counts"]}
    (main, up), *_ = higher_is_better.items()
    alarm = {main: limits[up][main]}
    return {
        "minimum": limits[True],
        "maximum": limits[False],
        "max_regression": max_regression,
        "min_labels": {"rows": rows, **counts},
        "monitoring_labels": {"rows": min(rows, 200), **{name: min(count, 20) for name, count in counts.items()}},
        "monitoring_minimum": alarm if up else {},
        "monitoring_maximum": {} if up else alarm,
        "min_rows": max(1, min(own["rows"] * 7 // max(own["days"], 7), MADE_UP_PER_DAY * 7) // 3),
        "reached": f"{main}: {own['model'][main]:.4g} reached, {own['constant'][main]:.4g} by a constant.",
        "gained": (own["model"][main] - own["constant"][main]) * (1 if up else -1) > own["noise"][main],
        "trials": trials,
    }


def rounded(value: float) -> float:
    """Return `value` with three significant digits."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
