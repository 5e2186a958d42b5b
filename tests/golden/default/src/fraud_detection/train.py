"""Task `train`: fits a model, registers it with its lineage, and names it challenger."""

import logging
from collections.abc import Callable
from datetime import date, timedelta
from importlib.metadata import version as installed

import matplotlib
import matplotlib.pyplot as plt
import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from sklearn.calibration import CalibrationDisplay
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import PrecisionRecallDisplay
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from . import data, registry, tables
from .config import load_config
from .drift import describe
from .evaluate import evaluate
from .features import CATEGORICAL, FEATURES, NUMERIC
from .task import run, set_task_value

logger = logging.getLogger(__name__)

PARAMETERS = {
    "learning_rate": 0.08,
    "max_iter": 120,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 40,
    "l2_regularization": 1.0,
    "random_state": 7,
}


def check_names(client: MlflowClient, source_table: str, schema: str, model: str) -> None:
    """Refuse a run whose names are not those of one deployment: its model would carry the approval of the code.

    The deployment writes into the comment of its model what the model learns from, and no run can change that.

    Raises:
        ValueError: names what does not fit.
    """
    if model.rpartition(".")[0] != schema:
        raise ValueError(f"{model} does not lie in {schema}: start the job with the names of its deployment.")
    try:
        comment = client.get_registered_model(model).description or ""
    except MlflowException as error:
        if not registry.is_missing(error):
            raise
        comment = ""  # no deployment made this model
    _, told, table = comment.rpartition("; source table ")
    if told and table != source_table:
        raise ValueError(f"{model} learns from {table}, not from {source_table}: another source needs a release.")


def build_model() -> Pipeline:
    """Return the unfitted model: FEATURES in, two class probabilities out. Another estimator goes here."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(
        make_column_transformer((encoder, CATEGORICAL), ("passthrough", NUMERIC)),
        HistGradientBoostingClassifier(**PARAMETERS, categorical_features=list(range(len(CATEGORICAL)))),
    )


def train(
    source_table: str,
    schema: str,
    model: str,
    experiment: str,
    run_date: date,
    days: int,
    training_fraction: float,
    environment: str,
    git_commit: str,
) -> None:
    """Fit a model on the labelled rows of the `days` days before `run_date`, and register it as challenger.

    Sets the task value `version`.

    Args:
        source_table: where labels come from, and what the lineage names.
        schema: schema of the features table.
        model: three-part name of the registered model.
        training_fraction: share of the cards to train on, in (0, 1].

    Raises:
        ValueError: if the rows are too few to fit a model on, or the names are not those of the deployment.
    """
    client = registry.connect()
    check_names(client, source_table, schema, model)
    spark = tables.spark_session()
    features_table, start = f"{schema}.features", run_date - timedelta(days=days)
    rows = data.labelled(spark, source_table, features_table, start, run_date, training_fraction)
    training, holdout = data.split(rows, load_config()["training"]["holdout_days"])
    if training[data.LABEL].nunique() < 2:
        raise ValueError(f"All {len(training)} training rows have one label: raise days or training_fraction.")

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"train {run_date}") as active:
        lineage = {
            "git_commit": git_commit,
            "environment": environment,
            "training_table": source_table,
            "training_table_version": tables.version(spark, source_table),
            "features_table": features_table,
            "features_table_version": tables.version(spark, features_table),
            "training_start": training["event_date"].min(),
            "training_end": training["event_date"].max(),
            "training_rows": len(training),
            "training_fraction": training_fraction,
            "training_date": run_date,
        }
        mlflow.set_tags(lineage)
        mlflow.log_params(PARAMETERS)

        pipeline = build_model().fit(training[FEATURES], training[data.LABEL])
        metrics = evaluate(pipeline.predict_proba, holdout)
        mlflow.log_metrics(metrics)
        log_plots(pipeline, holdout)

        example = holdout[FEATURES].head(5)
        info = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            pyfunc_predict_fn="predict_proba",
            signature=infer_signature(example, pipeline.predict_proba(example)),
            input_example=example,
            # Any estimator can be pickled. The other format, skops, loads only types that somebody listed as trusted.
            serialization_format="cloudpickle",
            pip_requirements=[f"{package}=={installed(package)}" for package in ("scikit-learn", "pandas", "numpy")],
            # Monitoring compares with what the model saw. It travels inside the model, also into another catalog.
            metadata={"baseline": describe(training, pipeline.predict_proba(training[FEATURES])[:, 1])},
        )
        with registry.explained():
            version = mlflow.register_model(info.model_uri, model, tags={k: str(v) for k, v in lineage.items()})
        registry.tag(client, version, trained_at=registry.now(), training_run=active.info.run_id)
        registry.challenge(client, version)
    set_task_value("version", str(version.version))
    logger.info("version %s of %s is challenger: %s", version.version, model, metrics)


def log_plots(pipeline: Pipeline, holdout: pd.DataFrame) -> None:
    """Log precision-recall curve, calibration curve and permutation importance on `holdout` to the active run."""
    inputs, labels = holdout[FEATURES], holdout[data.LABEL]
    scores = pipeline.predict_proba(inputs)[:, 1]

    def importance(axes: plt.Axes) -> None:
        sample = holdout.sample(min(len(holdout), 5000), random_state=7)
        result = permutation_importance(
            pipeline, sample[FEATURES], sample[data.LABEL], scoring="average_precision", n_repeats=3, random_state=7
        )
        pd.Series(result.importances_mean, FEATURES).sort_values().plot.barh(ax=axes)
        axes.set_xlabel("loss of average precision when shuffled")

    draw: dict[str, Callable[[plt.Axes], object]] = {
        "precision_recall": lambda axes: PrecisionRecallDisplay.from_predictions(labels, scores, ax=axes),
        "calibration": lambda axes: CalibrationDisplay.from_predictions(
            labels, scores, n_bins=10, strategy="quantile", ax=axes
        ),
        "feature_importance": importance,
    }
    for name, plot in draw.items():
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        plot(axes)
        mlflow.log_figure(figure, f"plots/{name}.png")
        plt.close(figure)


def main() -> None:
    matplotlib.use("agg")
    run(train)
