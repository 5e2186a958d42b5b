"""How good predictions are: the same metrics in training, at the gate, and in monitoring."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import PrecisionRecallDisplay, average_precision_score, brier_score_loss, roc_auc_score

# Each metric, and whether more of it is better. The first one is the one to look at.
HIGHER_IS_BETTER = {"average_precision": True, "roc_auc": True, "brier_score": False}


def quality(labels: pd.Series, prediction: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of `prediction` (the columns PREDICTION) against 0/1 `labels`; NaN if one class is absent.

    average_precision summarises the precision-recall curve, the right view where positives are rare
    (Saito and Rehmsmeier, PLoS ONE 2015). brier_score is the mean squared error of the probability
    (Brier, Monthly Weather Review 1950).
    """
    if labels.nunique() < 2:
        return dict.fromkeys(HIGHER_IS_BETTER, float("nan"))
    scores = prediction["fraud_score"]
    return {
        "average_precision": float(average_precision_score(labels, scores)),
        "roc_auc": float(roc_auc_score(labels, scores)),
        "brier_score": float(brier_score_loss(labels, scores)),
    }


def counts(labels: pd.Series) -> dict[str, float]:
    """Return what enough labels are counted in, beside rows."""
    return {"positives": float(labels.sum())}


# Drawn for each new model: labels and predictions of the holdout, on axes.
PLOTS: dict[str, Callable[[pd.Series, pd.DataFrame, Axes], object]] = {
    "precision_recall": lambda labels, prediction, axes: PrecisionRecallDisplay.from_predictions(
        labels, prediction["fraud_score"], ax=axes
    ),
    "calibration": lambda labels, prediction, axes: CalibrationDisplay.from_predictions(
        labels, prediction["fraud_score"], n_bins=10, strategy="quantile", ax=axes
    ),
}
