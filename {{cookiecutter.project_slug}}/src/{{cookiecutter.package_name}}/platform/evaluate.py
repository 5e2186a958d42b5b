"""How good a model is on labelled rows, measured alike in training and at the gate."""

import time
from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from ..problem import metrics
from ..problem.features import FEATURES
from ..problem.model import PREDICT, prediction
from ..problem.source import LABEL

MAIN_METRIC = next(iter(metrics.HIGHER_IS_BETTER))


def counts(labels: pd.Series) -> dict[str, float]:
    """Return what enough labels are counted in: `rows`, and what the problem adds."""
    return {"rows": float(len(labels))} | metrics.counts(labels)


def assess(rows: pd.DataFrame, raw: np.ndarray, seconds: float) -> dict[str, float]:
    """Return how good what a model returned for labelled `rows` is.

    Args:
        raw: of shape (rows, k): k classes, or 1.
        seconds: that it took to make it.

    Returns:
        The metrics of the problem, `milliseconds_per_1000_rows`, and the counts.
    """
    speed = {"milliseconds_per_1000_rows": 1e6 * seconds / max(len(rows), 1)}
    return metrics.quality(rows[LABEL], prediction(raw)) | speed | counts(rows[LABEL])


def headline(measured: dict[str, float]) -> str:
    """Return the main metric of the problem, for one line of a log."""
    return f"{MAIN_METRIC.replace('_', ' ')} {main_value(measured)}"


def main_value(measured: dict[str, float]) -> str:
    """Return the value of the main metric as the line of a log has it."""
    return formatted(measured, MAIN_METRIC, 3)


def formatted(measured: dict[str, float], name: str, digits: int = 4) -> str:
    """Return a number of `measured` as a sentence has it; `not known` if it is missing or NaN."""
    value = measured.get(name, float("nan"))
    return "not known" if isnan(value) else f"{value:,.{digits}f}"


def evaluate(predict: Callable[[pd.DataFrame], np.ndarray], rows: pd.DataFrame) -> dict[str, float]:
    """Score `rows` (FEATURES and LABEL) with `predict`, and assess what it returns."""
    predict(rows[FEATURES].head(1))  # the first call pays for loading, not for scoring
    start = time.perf_counter()
    raw = two_dimensional(predict(rows[FEATURES]))
    return assess(rows, raw, time.perf_counter() - start)


def two_dimensional(raw: object) -> np.ndarray:
    """Return what a model returned with one row per row: shape (rows, k), also where it gives one number each."""
    array = np.asarray(raw)
    return array.reshape(len(array), -1)


def predicted(estimator: Any, inputs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns PREDICTION that a fitted estimator gives for `inputs` (FEATURES)."""
    return prediction(two_dimensional(getattr(estimator, PREDICT)(inputs[FEATURES])))


def too_few(counted: dict[str, float], least: dict[str, int]) -> list[str]:
    """Return what there is too little of, among the labels that `counted` counts; an empty list if there is enough."""
    nan = float("nan")
    return [
        f"{formatted(counted, name, 0)} {name}, needs {limit}"
        for name, limit in least.items()
        if not counted.get(name, nan) >= limit
    ]
