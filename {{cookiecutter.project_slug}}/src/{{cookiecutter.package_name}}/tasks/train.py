"""Task `train`: fits a model, registers it with its lineage, and names it challenger."""

import logging
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from importlib.metadata import version as installed
from typing import Any

import cloudpickle
import matplotlib
import matplotlib.pyplot as plt
import mlflow
import pandas as pd
from matplotlib.axes import Axes
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.tracking import MlflowClient
from pyspark.sql import DataFrame
from sklearn.inspection import permutation_importance

from ..platform import card, data, registry, search, tables
from ..platform.config import load_config
from ..platform.drift import describe
from ..platform.evaluate import evaluate, headline, predicted
from ..platform.parameters import run, set_task_value
from ..problem import metrics
from ..problem import model as problem_model
from ..problem.features import FEATURES
from ..problem.model import PARAMETERS, PREDICT, REQUIREMENTS, fit
from ..problem.source import LABEL

logger = logging.getLogger(__name__)

# Where the problem has it, it gets all labelled rows, in Spark; the rest is measured on what one machine holds.
# It returns None where this Spark cannot fit.
FIT_DISTRIBUTED: Callable[[DataFrame, dict[str, Any]], Any] | None = getattr(problem_model, "fit_distributed", None)


def check_names(client: MlflowClient, source_table: str, schema: str, model: str) -> None:
    """Refuse a run whose names are not those of one deployment: its model would carry the approval of the code.

    The deployment writes into the comment of its model what the model learns from, and no run can change that.

    Raises:
        ValueError: names what does not fit.
    """
    if model.rpartition(".")[0] != schema:
        raise ValueError(f"{model} is not in {schema}: start the job with the names of its deployment.")
    try:
        comment = client.get_registered_model(model).description or ""
    except MlflowException as error:
        if not registry.is_missing(error):
            raise
        comment = ""  # no deployment made this model
    _, told, table = comment.rpartition("; source table ")
    if told and table != source_table:
        raise ValueError(f"{model} learns from {table}, not from {source_table}: another source needs a release.")


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
        training_fraction: share of the entities to train on, in (0, 1].

    Raises:
        ValueError: if the rows are too few to fit a model on, or the names are not those of the deployment.
    """
    client = registry.connect()
    check_names(client, source_table, schema, model)
    spark = tables.spark_session()
    features_table, start = f"{schema}.features", run_date - timedelta(days=days)
    rows = data.labelled(spark, source_table, features_table, start, run_date, training_fraction)
    known, newest = data.split(rows)
    config = load_config()
    columns = dict.fromkeys(["event_date", data.UNIT, *FEATURES, LABEL])  # the entity may be a feature
    training = known.take([*columns], config.training.max_rows)
    holdout = newest.take([*FEATURES, LABEL], config.gate.max_rows)
    if training[LABEL].nunique() < 2:
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
            "labelled_rows": known.rows,
            "training_fraction": training_fraction,
            "training_date": run_date,
        }
        mlflow.set_tags(lineage)
        trials = config.training.trials
        parameters = search.best_parameters(training, trials) if trials else PARAMETERS
        mlflow.log_params(parameters)

        estimator = FIT_DISTRIBUTED(known.frame.select(*FEATURES, LABEL), parameters) if FIT_DISTRIBUTED else None
        if estimator is None:
            estimator = fit(training, parameters)
            logger.info("fitted on one machine, on %d of %d rows", len(training), known.rows)
        else:
            lineage["training_rows"] = known.rows
            mlflow.set_tag("training_rows", known.rows)
            logger.info("fitted by Spark on all %d rows", known.rows)
        predict = getattr(estimator, PREDICT)
        measured = evaluate(predict, holdout)
        mlflow.log_metrics(measured)
        log_plots(estimator, holdout)

        example = holdout[FEATURES].head(5)
        # Its own classes and functions go into the pickle, because the package is not there where the model is loaded.
        cloudpickle.register_pickle_by_value(problem_model)
        info = mlflow.sklearn.log_model(
            estimator,
            name="model",
            pyfunc_predict_fn=PREDICT,
            signature=infer_signature(example, predict(example)),
            input_example=example,
            # Any estimator can be pickled. The other format, skops, loads only types that somebody listed as trusted.
            serialization_format="cloudpickle",
            pip_requirements=[f"{package}=={installed(package)}" for package in REQUIREMENTS],
            # Monitoring compares with what the model saw. It travels inside the model, also into another catalog.
            metadata={"baseline": describe(training, predicted(estimator, training))},
        )
        with registry.explained():
            version = mlflow.register_model(info.model_uri, model, tags={k: str(v) for k, v in lineage.items()})
        registry.tag(client, version, trained_at=registry.now(), training_run=active.info.run_id)
        registry.challenge(client, version)
    card.write(client, model, str(version.version))
    set_task_value("version", str(version.version))
    logger.info("version %s: %s, %s rows", version.version, headline(measured), f"{lineage['training_rows']:,}")


def log_plots(estimator: Any, holdout: pd.DataFrame) -> None:
    """Log the plots of the problem, and permutation importance by its main metric, on `holdout` to the active run."""
    (main_metric, higher_is_better), *_ = metrics.HIGHER_IS_BETTER.items()
    found = predicted(estimator, holdout)

    def score(estimator: Any, inputs: pd.DataFrame, labels: pd.Series) -> float:
        value = metrics.quality(labels, predicted(estimator, inputs))[main_metric]
        return value if higher_is_better else -value

    def importance(axes: Axes) -> None:
        sample = holdout.sample(min(len(holdout), 2000), random_state=7)
        result = permutation_importance(
            estimator, sample[FEATURES], sample[LABEL], scoring=score, n_repeats=3, random_state=7
        )
        pd.Series(result.importances_mean, FEATURES).sort_values().plot.barh(ax=axes)
        axes.set_xlabel(f"loss of {main_metric.replace('_', ' ')} when shuffled")

    draw: dict[str, Callable[[Axes], object]] = {
        name: partial(plot, holdout[LABEL], found) for name, plot in metrics.PLOTS.items()
    }
    for name, plot in (draw | {"feature_importance": importance}).items():
        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        plot(axes)
        mlflow.log_figure(figure, f"plots/{name}.png")
        plt.close(figure)


def main() -> None:
    matplotlib.use("agg")
    run(train)
