"""Looks for better parameters of the estimator, where `training.trials` in `problem/config.yml` asks for it."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd

from ..problem import metrics, source
from ..problem.model import PARAMETERS, fit, suggest
from .data import UNIT
from .evaluate import predicted


def best_parameters(training: pd.DataFrame, trials: int) -> dict[str, Any]:
    """Return the parameters that did best in `trials` trials: PARAMETERS, then what `suggest` makes of them.

    They are compared by the main metric on a fifth of `training`, so that the holdout stays unseen. Each trial is a
    child of the active MLflow run.

    Args:
        training: FEATURES, LABEL and UNIT, the oldest rows first.

    Raises:
        ModuleNotFoundError: if Optuna, which chooses them, is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError("training.trials in problem/config.yml needs Optuna: uv add optuna") from None

    (main_metric, higher_is_better), *_ = metrics.HIGHER_IS_BETTER.items()
    judging = judges(training)
    earlier, later = training[~judging], training[judging]
    tried: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        parameters = PARAMETERS | suggest(trial)
        tried.append(parameters)
        with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
            mlflow.log_params(parameters)
            estimator = fit(earlier, parameters)
            quality = metrics.quality(later[source.LABEL], predicted(estimator, later))
            mlflow.log_metrics(quality)
        return quality[main_metric]

    sampler = optuna.samplers.TPESampler(seed=7)
    study = optuna.create_study(direction="maximize" if higher_is_better else "minimize", sampler=sampler)
    study.enqueue_trial(PARAMETERS)  # what is not found better than these is not taken
    study.optimize(objective, n_trials=trials)
    return tried[study.best_trial.number]


def judges(training: pd.DataFrame) -> pd.Series:
    """Return which rows are the fifth that trials are judged on: the newest, or whole entities of a snapshot."""
    if source.TIME:
        return pd.Series(np.arange(len(training)) >= len(training) * 4 // 5, training.index)
    return training[UNIT].isin(training[UNIT].drop_duplicates().sample(frac=0.2, random_state=7))
