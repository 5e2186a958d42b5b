"""How good predictions are: the same metrics in training, at the gate, and in monitoring."""

from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import PredictionErrorDisplay, mean_absolute_error, r2_score, root_mean_squared_error

# Each metric, and whether more of it is better. The first one is the one to look at.
HIGHER_IS_BETTER = {"mean_absolute_error": False, "root_mean_squared_error": False, "r2": True}


def quality(labels: pd.Series, prediction: pd.DataFrame) -> dict[str, float]:
    """Return metrics of `prediction` (the columns PREDICTION) against `labels`; NaN for fewer than two labels.

    mean_absolute_error says how far off a prediction is (Willmott and Matsuura, Climate Research 30, 2005),
    root_mean_squared_error weighs large errors more, both in the unit of the label, and r2 is the share of the
    variance that is explained, comparable when labels change (Chicco, Warrens and Jurman, PeerJ Computer Science 7,
    2021). No percentage of the label is among them: it prefers predictions that are too low, and explodes for labels
    near zero (Hyndman and Koehler, International Journal of Forecasting 22, 2006).
    """
    if len(labels) < 2:
        return dict.fromkeys(HIGHER_IS_BETTER, float("nan"))
    predicted = prediction["predicted_hours"]
    return {
        "mean_absolute_error": float(mean_absolute_error(labels, predicted)),
        "root_mean_squared_error": float(root_mean_squared_error(labels, predicted)),
        "r2": float(r2_score(labels, predicted)),
    }


def counts(labels: pd.Series) -> dict[str, float]:
    """Return what enough labels are counted in, beside rows: nothing, for a regression."""
    return {}


def _display(kind: str) -> Callable[[pd.Series, pd.DataFrame, Axes], object]:
    """Return a function that draws the labels, or the residuals, over the predictions."""

    def draw(labels: pd.Series, prediction: pd.DataFrame, axes: Axes) -> None:
        predicted = prediction["predicted_hours"].to_numpy()
        PredictionErrorDisplay.from_predictions(
            labels.to_numpy(), predicted, kind=kind, subsample=2000, random_state=7, scatter_kwargs={"s": 4}, ax=axes
        )

    return draw


# Drawn for each new model: labels and predictions of the holdout, on axes.
PLOTS = {
    "actual_against_predicted": _display("actual_vs_predicted"),
    "residuals": _display("residual_vs_predicted"),
}
