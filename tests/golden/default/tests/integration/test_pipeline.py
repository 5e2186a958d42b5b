"""The steps of the jobs one after the other on small data, with a real registry and real Delta tables."""

import hashlib
import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from pyspark.sql import DataFrame, SparkSession

from fraud_detection.platform import registry, tables
from fraud_detection.problem.features import FEATURES
from fraud_detection.problem.metrics import HIGHER_IS_BETTER, PLOTS
from fraud_detection.problem.model import PREDICTION, prediction
from fraud_detection.problem.source import KEY, LABEL, TIME
from fraud_detection.tasks import (
    activate,
    check_data,
    check_results,
    features,
    monitor,
    predict,
    sample_data,
    train,
    validate,
)

RUN_DATE = date(2026, 3, 2)
DAYS = 60
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore.py"


@dataclass(frozen=True)
class Pipeline:
    """The names that the steps work on, and the steps with the parameters that a job would give them."""

    spark: SparkSession
    client: MlflowClient
    schema: str
    task_values: dict[str, Any]

    @property
    def source_table(self) -> str:
        return f"{self.schema}.source"

    @property
    def model(self) -> str:
        return f"{self.schema}.model"

    def table(self, name: str) -> DataFrame:
        return tables.read(self.spark, f"{self.schema}.{name}")

    def aliases(self) -> dict[str, str]:
        aliases = self.client.get_registered_model(self.model).aliases
        return {alias: str(version) for alias, version in aliases.items()}

    def train(self, training_fraction: float = 1.0, source_table: str = "", schema: str = "") -> str:
        """Train a challenger and return its version."""
        train.train(
            source_table or self.source_table,
            schema or self.schema,
            self.model,
            experiment=self.schema,
            run_date=RUN_DATE,
            days=DAYS,
            training_fraction=training_fraction,
            environment="dev",
            git_commit="abc123",
        )
        return str(self.task_values["version"])

    def validate(self, version: str) -> None:
        validate.validate(
            self.source_table,
            self.schema,
            self.model,
            version,
            experiment=self.schema,
            run_date=RUN_DATE,
            days=DAYS,
            environment="dev",
        )

    def activate(self, version: str) -> None:
        activate.activate(self.schema, self.model, version, "dev", approved_by="ann", approval_required=False)

    def predict(self) -> None:
        predict.predict(self.schema, self.model, RUN_DATE, days=7, git_commit="abc123")

    def monitor(self) -> None:
        monitor.monitor(self.source_table, self.schema, self.model, self.schema, RUN_DATE, environment="dev")


@pytest.fixture(scope="module")
def pipeline(
    spark: SparkSession,
    mlflow_client: MlflowClient,
    home: Path,
    new_schema: Callable[..., str],
    task_values: dict[str, Any],
) -> Pipeline:
    """A project whose first model serves, after one run of each job."""
    pipeline = Pipeline(spark, mlflow_client, new_schema("pipeline"), task_values)
    mlflow_client.create_experiment(pipeline.schema, artifact_location=(home / "artifacts").as_uri())
    sample_data.sample_data(pipeline.source_table, RUN_DATE, DAYS, rows_per_day=150, drift=False)
    check_data.check_data(pipeline.source_table, RUN_DATE, DAYS)
    features.features(pipeline.source_table, pipeline.schema, RUN_DATE, DAYS)
    version = pipeline.train()
    pipeline.validate(version)
    pipeline.activate(version)
    pipeline.predict()
    pipeline.monitor()
    return pipeline


def test_the_first_model_that_passes_becomes_champion(pipeline: Pipeline) -> None:
    champion = registry.get(pipeline.client, pipeline.model, registry.CHAMPION)
    assert str(champion.version) == "1"
    assert champion.tags["validation_status"] == "PASSED"
    assert HIGHER_IS_BETTER.keys() <= champion.tags.keys()


def test_the_champion_tells_where_it_comes_from(pipeline: Pipeline) -> None:
    tags = registry.get(pipeline.client, pipeline.model, registry.CHAMPION).tags
    assert tags["git_commit"] == "abc123"
    assert tags["environment"] == "dev"
    assert tags["training_table"] == pipeline.source_table
    assert tags["training_table_version"] == "0"
    assert tags["approved_by"] == "ann"
    assert {"trained_at", "training_run", "approved_at", "validated_at"} <= tags.keys()


def test_the_model_has_a_signature_and_an_input_example(pipeline: Pipeline) -> None:
    info = mlflow.models.get_model_info(f"models:/{pipeline.model}@champion")
    assert info.signature is not None
    assert info.signature.inputs.input_names() == FEATURES
    assert info.saved_input_example_info is not None


def test_the_gate_shows_what_it_compared(pipeline: Pipeline) -> None:
    """The page is one file, and the version says which, in a tag that an approval is bound to."""
    tags = registry.get(pipeline.client, pipeline.model, registry.CHAMPION).tags
    told = json.loads(tags[registry.COMPARISON])
    written = mlflow.artifacts.download_artifacts(f"runs:/{tags['validation_run']}/comparison.html")
    html = Path(written).read_bytes()
    assert hashlib.sha256(html).hexdigest() == told["page_sha256"]
    assert told["margins"].keys() == HIGHER_IS_BETTER.keys()
    assert all(between is None for _, between in told["margins"].values())  # there was no champion
    assert b"Passes" in html and b">nan<" not in html


def test_the_training_run_shows_plots(pipeline: Pipeline) -> None:
    run = registry.get(pipeline.client, pipeline.model, registry.CHAMPION).tags["training_run"]
    plots = {Path(artifact.path).stem for artifact in pipeline.client.list_artifacts(run, "plots")}
    assert plots == {*PLOTS, "feature_importance"}


def explore(model: str) -> dict[str, Any]:
    """Run all cells of the notebook as a workspace does, with `model` in its field, and return what they define."""
    widgets = SimpleNamespace(text=lambda name, default: None, get=lambda name: model if name == "model" else "")
    return runpy.run_path(str(NOTEBOOK), {"dbutils": SimpleNamespace(widgets=widgets)})


def test_the_notebook_compares_a_variant_with_the_champion(pipeline: Pipeline) -> None:
    before = pipeline.aliases()
    found = explore(pipeline.model)
    champion = registry.get(pipeline.client, pipeline.model, registry.CHAMPION)
    comparison = found["comparison"]
    assert list(comparison) == ["champion 1", "variant", "difference", "margin", "it is"]
    for metric in HIGHER_IS_BETTER:
        assert champion.tags[metric] == f"{comparison.loc[metric, 'champion 1']:.4f}", "as the gate measured"
        assert comparison.loc[metric, "it is"] in ("better", "worse", "may be chance")
    run = pipeline.client.get_run(found["run"].info.run_id)
    assert run.info.experiment_id == pipeline.client.get_run(champion.tags["training_run"]).info.experiment_id
    assert run.data.metrics == found["tested"].metrics
    assert pipeline.aliases() == before
    assert len(registry.versions(pipeline.client, pipeline.model)) == 1, "nothing is registered"


def test_the_notebook_needs_no_champion_but_a_training(pipeline: Pipeline) -> None:
    refused = f"{pipeline.schema}.refused"
    with pytest.raises(ValueError, match="has no version yet: run the jobs `sample_data` and `training` of dev first"):
        explore(refused)
    pipeline.client.create_registered_model(refused)
    version = pipeline.client.copy_model_version(f"models:/{pipeline.model}/1", refused)
    trained = registry.get(pipeline.client, pipeline.model, registry.CHAMPION)
    registry.tag(pipeline.client, version, training_run=trained.tags["training_run"])
    pipeline.client.set_registered_model_alias(refused, registry.CHALLENGER, version.version)
    found = explore(refused)
    assert list(found["comparison"]) == ["variant"]


def test_the_release_is_in_the_log_once(pipeline: Pipeline) -> None:
    pipeline.activate("1")
    (release,) = pipeline.table("release_log").where("model_version = 1").collect()
    assert (release["environment"], release["approved_by"], release["git_commit"]) == ("dev", "ann", "abc123")


def test_scoring_a_day_again_writes_no_row_twice(pipeline: Pipeline) -> None:
    before = pipeline.table("predictions").toPandas()
    pipeline.predict()
    after = pipeline.table("predictions").toPandas()
    assert len(after) == after[KEY].nunique() == len(before) == (7 if TIME else DAYS) * 150
    assert set(after["git_commit"]) == {"abc123"}


def test_spark_scores_as_the_model_does(pipeline: Pipeline) -> None:
    rows = pipeline.table("predictions").join(pipeline.table("features"), KEY).limit(100).toPandas()
    model = mlflow.pyfunc.load_model(f"models:/{pipeline.model}@champion")
    raw = np.asarray(model.predict(rows[FEATURES])).reshape(len(rows), -1)
    # Numbers that were read from text may lie just over an edge at which the estimator decides otherwise.
    same = (prediction(raw).round(3) == rows[list(PREDICTION)].round(3)).all(axis="columns")
    assert same.mean() > 0.9


def test_data_like_that_of_training_starts_no_training(pipeline: Pipeline) -> None:
    assert pipeline.task_values["drift_detected"] is False
    metrics = {row["metric"] for row in pipeline.table("monitoring_metrics").collect()}
    assert {"rows", "null_rate", "psi"} <= metrics
    not_a_number = pipeline.table("monitoring_metrics").where("isnan(value) OR isnan(`limit`)")
    assert not_a_number.isEmpty(), "what was not measured, or has no limit, is null"


def test_measuring_a_day_again_writes_no_row_twice(pipeline: Pipeline) -> None:
    before = pipeline.table("monitoring_metrics").count()
    pipeline.monitor()
    assert pipeline.table("monitoring_metrics").count() == before


def test_the_report_shows_what_was_measured_when(pipeline: Pipeline) -> None:
    experiment = pipeline.client.get_experiment_by_name(pipeline.schema)
    assert experiment is not None
    (newest,) = pipeline.client.search_runs(
        [experiment.experiment_id], "tags.mlflow.runName LIKE 'monitor %'", max_results=1
    )
    written = mlflow.artifacts.download_artifacts(f"runs:/{newest.info.run_id}/report.html")
    html = Path(written).read_text(encoding="utf-8")
    assert f"scored rows from {RUN_DATE} to {RUN_DATE}" in html and f"version 1 from {RUN_DATE}; alarms:" in html
    assert ">nan<" not in html


def test_the_checks_of_the_integration_test_hold(pipeline: Pipeline) -> None:
    check_results.check_results(pipeline.schema, pipeline.model, RUN_DATE, days=7)
    if TIME is None:
        return  # a snapshot is scored as a whole
    with pytest.raises(AssertionError, match="feature rows is scored"):
        check_results.check_results(pipeline.schema, pipeline.model, RUN_DATE, days=8)


def test_training_needs_labels_that_differ(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    take = train.data.Part.take

    def take_one_label(part: train.data.Part, columns: list[str], most: int) -> pd.DataFrame:
        rows = take(part, columns, most)
        return rows.assign(**{LABEL: rows[LABEL].iloc[0]})

    monkeypatch.setattr(train.data.Part, "take", take_one_label)
    with pytest.raises(ValueError, match=r"training rows have one label: raise days or training_fraction"):
        pipeline.train()
    assert "challenger" not in pipeline.aliases()


def test_a_model_learns_only_from_what_its_deployment_says(pipeline: Pipeline) -> None:
    """Whoever starts the job may hand it other names, and the model would carry the approval of the code."""
    before = pipeline.aliases()
    elsewhere = replace(pipeline, schema=f"{pipeline.schema}_of_somebody")
    with pytest.raises(ValueError, match=f"is not in {elsewhere.schema}: start the job with the names of its"):
        pipeline.train(schema=elsewhere.schema)
    comment = f"Model of a project; source table {pipeline.source_table}"
    pipeline.client.update_registered_model(pipeline.model, description=comment)
    with pytest.raises(ValueError, match=f"learns from {pipeline.source_table}, not from {elsewhere.source_table}: "):
        pipeline.train(source_table=elsewhere.source_table)
    assert pipeline.aliases() == before


def test_the_gate_refuses_a_worse_candidate_and_the_champion_stays(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = train.fit

    def fit_shuffled(training: pd.DataFrame, parameters: dict[str, Any]) -> Any:
        shuffled = training[LABEL].sample(frac=1, random_state=1).to_numpy()
        return fit(training.assign(**{LABEL: shuffled}), parameters)

    monkeypatch.setattr(train, "fit", fit_shuffled)
    version = pipeline.train()
    with pytest.raises(validate.GateError, match="did not pass, the champion stays as it was"):
        pipeline.validate(version)
    with pytest.raises(registry.RegistryError, match="validation_status FAILED: only PASSED may serve"):
        pipeline.activate(version)
    assert pipeline.aliases() == {"champion": "1", "challenger": version}
    assert pipeline.table("release_log").count() == 1


def test_spark_fits_on_more_rows_than_one_machine_takes(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fit_distributed(training: DataFrame, parameters: dict[str, Any]) -> Any:
        seen.append(training.count())
        return train.fit(training.toPandas(), parameters)

    limits = train.load_config()
    fewer = limits.model_copy(update={"training": limits.training.model_copy(update={"max_rows": 1000})})
    monkeypatch.setattr(train, "load_config", lambda: fewer)
    monkeypatch.setattr(train, "FIT_DISTRIBUTED", fit_distributed)

    tags = pipeline.client.get_model_version(pipeline.model, pipeline.train()).tags

    assert [str(seen[0])] * 2 == [tags["training_rows"], tags["labelled_rows"]]
    assert seen[0] > 1000
