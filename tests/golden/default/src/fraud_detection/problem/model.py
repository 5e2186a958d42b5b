"""The estimator: how it is fitted, and what its predictions look like. Another one goes here.

Functions and classes of this module travel inside each model, so that whoever loads one needs none of this package.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from .features import CATEGORICAL, FEATURES, NUMERIC
from .source import LABEL

PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.08,
    "max_iter": 120,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "random_state": 7,
}

# What a model needs where it is loaded. It gets the versions that are installed where it is trained.
REQUIREMENTS = ("scikit-learn", "pandas", "numpy")

PREDICT = "predict_proba"  # the method of the estimator that scores

# The columns of the table `predictions`, with their Spark types, and the SQL that is true for a good row.
PREDICTION = {"fraud_score": "double"}
PREDICTION_RULES = {"fraud_score is a probability": "fraud_score BETWEEN 0 AND 1"}


def fit(training: pd.DataFrame, parameters: dict[str, Any]) -> Pipeline:
    """Return the estimator, fitted on the rows of `training` (FEATURES and LABEL).

    This is the place for weights: of rows (`histgradientboostingclassifier__sample_weight` of `fit`), or of classes
    (`class_weight` of the estimator), which then scores no probabilities any more.
    """
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    estimator = make_pipeline(
        make_column_transformer((encoder, CATEGORICAL), ("passthrough", NUMERIC)),
        HistGradientBoostingClassifier(**parameters, categorical_features=list(range(len(CATEGORICAL)))),
    )
    return estimator.fit(training[FEATURES], training[LABEL])


def suggest(trial: Any) -> dict[str, Any]:
    """Return parameters to try instead of those of PARAMETERS: `trial` is Optuna's (see docs/estimators.md)."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 63, log=True),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 10, 200, log=True),
    }


def prediction(raw: np.ndarray) -> pd.DataFrame:
    """Return the columns PREDICTION for what the estimator returned, of shape (rows, 2): the probability of 1."""
    return pd.DataFrame({"fraud_score": raw[:, 1]})
