"""How good predictions are: the same metrics in training, at the gate, and in monitoring."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score, f1_score, log_loss

from .model import PROBABILITIES
from .source import CLASSES

# Each metric, and whether more of it is better. The first one is the one to look at.
HIGHER_IS_BETTER = {"macro_f1": True, "balanced_accuracy": True, "log_loss": False}


def quality(labels: pd.Series, prediction: pd.DataFrame) -> dict[str, float]:
    """Return metrics of `prediction` (the columns PREDICTION) against `labels` of CLASSES; NaN if a class is absent.

    macro_f1 is the mean of the F1 of each class, balanced_accuracy the mean of the recall of each class: a rare class
    counts as much as a frequent one (Sokolova and Lapalme, Information Processing and Management 45, 2009).
    log_loss judges the probabilities, and is least for the true ones (Gneiting and Raftery, JASA 102, 2007).
    """
    if labels.nunique() < len(CLASSES):
        return dict.fromkeys(HIGHER_IS_BETTER, float("nan"))
    predicted = prediction["predicted_fault"]
    return {
        "macro_f1": float(f1_score(labels, predicted, labels=CLASSES, average="macro", zero_division=0)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "log_loss": float(log_loss(labels, prediction[PROBABILITIES], labels=CLASSES)),
    }


def counts(labels: pd.Series) -> dict[str, float]:
    """Return what enough labels are counted in, beside rows."""
    return {"rarest_class": float(labels.value_counts().reindex(CLASSES, fill_value=0).min())}


def _confusion(labels: pd.Series, prediction: pd.DataFrame, axes: Axes) -> None:
    """Draw which share of each class is predicted as which."""
    ConfusionMatrixDisplay.from_predictions(
        labels, prediction["predicted_fault"], labels=CLASSES, normalize="true", colorbar=False, ax=axes
    )


def _calibration(labels: pd.Series, prediction: pd.DataFrame, axes: Axes) -> None:
    """Draw how often the predicted class is the true one, for each probability that it was given."""
    right = labels.to_numpy() == prediction["predicted_fault"].to_numpy()
    highest = prediction[PROBABILITIES].max(axis=1).to_numpy()
    CalibrationDisplay.from_predictions(right, highest, n_bins=10, strategy="quantile", ax=axes)
    axes.set(xlabel="probability of the predicted class", ylabel="share that is right")


# Drawn for each new model: labels and predictions of the holdout, on axes.
PLOTS: dict[str, Callable[[pd.Series, pd.DataFrame, Axes], object]] = {
    "confusion_matrix": _confusion,
    "calibration": _calibration,
}
