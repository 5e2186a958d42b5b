"""How good a model is on labelled rows: the same numbers for training, the gate and monitoring."""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from .data import LABEL
from .features import FEATURES


def quality(labels: pd.Series, scores: np.ndarray) -> dict[str, float]:
    """Return metrics of probabilities `scores` against 0/1 `labels`, both of shape (rows,); NaN if one class is absent.

    average_precision summarises the precision-recall curve, the right view where positives are rare
    (Saito and Rehmsmeier, PLoS ONE 2015). brier_score is the mean squared error of the probability.
    """
    if labels.nunique() < 2:
        return dict.fromkeys(("average_precision", "roc_auc", "brier_score"), float("nan"))
    return {
        "average_precision": float(average_precision_score(labels, scores)),
        "roc_auc": float(roc_auc_score(labels, scores)),
        "brier_score": float(brier_score_loss(labels, scores)),
    }


def assess(rows: pd.DataFrame, scores: np.ndarray, seconds: float) -> dict[str, float]:
    """Return how good the class probabilities `scores`, of shape (rows, 2), of labelled `rows` are.

    Args:
        seconds: that it took to make them.

    Returns:
        The metrics of `quality`, `milliseconds_per_1000_rows`, and the counts `rows` and `positives`.
    """
    return quality(rows[LABEL], scores[:, 1]) | {
        "milliseconds_per_1000_rows": 1e6 * seconds / max(len(rows), 1),
        "rows": float(len(rows)),
        "positives": float(rows[LABEL].sum()),
    }


def evaluate(predict: Callable[[pd.DataFrame], np.ndarray], rows: pd.DataFrame) -> dict[str, float]:
    """Score `rows` (FEATURES and label) with `predict`, which returns class probabilities, and assess the scores."""
    predict(rows[FEATURES].head(1))  # the first call pays for loading, not for scoring
    start = time.perf_counter()
    scores = np.asarray(predict(rows[FEATURES]))
    return assess(rows, scores, time.perf_counter() - start)
