"""How far the data that a model scores has moved from the data that it was trained on."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ..problem.features import CATEGORICAL, NUMERIC
from ..problem.model import PREDICTION

# Shares are floored, since the logarithm of an empty bin is infinite.
FLOOR = 1e-4


def psi(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the population stability index of two distributions over the same bins, each of shape (bins,).

    PSI = sum((actual - expected) * ln(actual / expected)) over shares (Siddiqi, Credit Risk Scorecards, 2006).
    """
    expected, actual = np.maximum(expected, FLOOR), np.maximum(actual, FLOOR)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def describe(rows: pd.DataFrame, prediction: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the baseline of training `rows` and their `prediction`: for each column its bins and the share in each.

    Numbers are cut at their deciles (`edges`, so a bin is `edge < x <= next edge`), categories have one bin per value.
    The last bin counts nulls and values never seen.
    """
    baseline: dict[str, dict[str, Any]] = {}
    columns = {name: rows[name] for name in NUMERIC + CATEGORICAL} | {name: prediction[name] for name in PREDICTION}
    for name, values in columns.items():
        if name in CATEGORICAL or PREDICTION.get(name) == "string":
            counts = values.value_counts() / len(values)
            nulls = float(values.isna().mean())
            baseline[name] = {"values": counts.index.tolist(), "shares": [*counts.tolist(), nulls]}
        else:
            edges = np.unique(np.nanquantile(values.astype(float), np.linspace(0.1, 0.9, 9)))
            bins = np.where(values.isna(), len(edges) + 1, np.searchsorted(edges, values))
            shares = np.bincount(bins, minlength=len(edges) + 2) / len(values)
            baseline[name] = {"edges": edges.tolist(), "shares": shares.tolist()}
    return baseline


def bin_conditions(name: str, profile: dict[str, Any]) -> list[Column]:
    """Return one condition per bin of a baseline's `profile`, the last for nulls and values never seen."""
    column = F.col(name)
    if "values" in profile:
        return [column == value for value in profile["values"]] + [
            column.isNull() | ~column.isin(profile["values"]),
        ]
    edges = profile["edges"]
    column = F.nanvl(column, F.lit(None))  # Spark sorts NaN behind all numbers, pandas takes it for a null
    between = [(column > low) & (column <= high) for low, high in pairwise(edges)]
    return [column <= edges[0], *between, column > edges[-1], column.isNull()]


def measure(frame: DataFrame, baseline: dict[str, dict[str, Any]]) -> tuple[int, dict[str, np.ndarray]]:
    """Return the rows of `frame`, and for each column of `baseline` its share in each bin, in one pass."""
    counts = [
        F.count(F.when(condition, 1)).alias(f"{name}_{number}")
        for name, profile in baseline.items()
        for number, condition in enumerate(bin_conditions(name, profile))
    ]
    row = frame.agg(F.count("*").alias("rows"), *counts).collect()[0]
    rows = row["rows"]
    return rows, {
        name: np.array([row[f"{name}_{number}"] for number in range(len(profile["shares"]))]) / max(rows, 1)
        for name, profile in baseline.items()
    }
