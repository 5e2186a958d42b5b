"""Task `validate`: the gate. A challenger that does not pass stops the run, and the champion stays."""

import json
import logging
from datetime import date, timedelta
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from ..platform import card, comparison, data, evaluations, registry, sandbox, tables
from ..platform.comparison import Scored
from ..platform.config import Gate, load_config
from ..platform.evaluate import assess, formatted, headline, main_value, too_few
from ..platform.parameters import run
from ..problem.features import FEATURES
from ..problem.metrics import HIGHER_IS_BETTER
from ..problem.model import prediction
from ..problem.source import LABEL

logger = logging.getLogger(__name__)


class GateError(RuntimeError):
    """The challenger did not pass."""


def objections(metrics: dict[str, float], champion: dict[str, float] | None, gate: Gate) -> list[str]:
    """Return why a challenger must not serve; an empty list lets it pass.

    Args:
        metrics: of the challenger, from `assess`. A metric that is missing or NaN objects.
        champion: metrics of the champion on the same rows, None for the first model.
    """
    nan = float("nan")
    reasons = [f"holdout has {reason}" for reason in too_few(metrics, gate.min_labels)]
    for name, least in gate.minimum.items():
        if not metrics.get(name, nan) >= least:
            reasons.append(f"{name} is {formatted(metrics, name)}, must be at least {least}")
    for name, most in gate.maximum.items():
        if not metrics.get(name, nan) <= most:
            reasons.append(f"{name} is {formatted(metrics, name)}, must be at most {most}")
    for name, tolerance in gate.max_regression.items():
        sign, worse = (1, "below") if HIGHER_IS_BETTER[name] else (-1, "above")
        if champion and not sign * (metrics.get(name, nan) - champion[name]) >= -tolerance:
            reasons.append(
                f"{name} is {formatted(metrics, name)}, "
                f"must not be more than {tolerance} {worse} the champion's {formatted(champion, name)}"
            )
    return reasons


def acceptance(spark: SparkSession, folder: Path, version: str, holdout: pd.DataFrame) -> tuple[Scored, list[str]]:
    """Score `holdout` with the model of `version` in `folder`, whose code runs nowhere but in the sandbox.

    Returns:
        Its metrics and predictions, and objections if it does not load, has no signature, or does not fit the table;
        then nothing was scored.
    """
    nothing = Scored(version)
    if holdout.empty:
        return nothing, ["the holdout has no rows"]
    try:
        # Not `mlflow.models.get_model_info`: it asks this workspace for the logged model, which a received version has
        # in the workspace that trained it.
        signature = Model.load(str(folder)).signature
        if signature is None or signature.outputs is None:
            return nothing, ["the model has no signature with inputs and outputs"]
        inputs = signature.inputs.input_names()  # fewer than FEATURES for a champion that is older than a feature
        if missing := set(inputs) - set(FEATURES):
            return nothing, [f"the features lack the model's inputs {', '.join(sorted(missing))}"]
        raw, seconds = sandbox.score(spark, folder, holdout[inputs])
        return Scored(version, assess(holdout, raw, seconds), prediction(raw)), []
    except Exception as error:  # whatever a foreign model raises, it cannot serve here
        (*_, cause) = str(error).strip().splitlines() or [""]
        return nothing, [f"the model does not load or score here: {type(error).__name__}: {cause}"]


def validate(
    source_table: str,
    schema: str,
    model: str,
    version: str,
    experiment: str,
    run_date: date,
    days: int,
    environment: str,
) -> None:
    """Hold a version of `model` against the thresholds and the champion, on this environment's newest labels.

    The outcome is a tag of the version (`validation_status` PASSED or FAILED), an MLflow run, and rows in
    `<schema>.evaluations`. A version that is champion already has nothing to prove, nor has one that was approved with
    the result that it has: against the same champion, and with the same files.

    Raises:
        GateError: lists every objection.
    """
    client = registry.connect()
    challenger = registry.get(client, model, version)
    champion = registry.find(client, model, registry.CHAMPION)
    if champion is not None and champion.version == challenger.version:
        logger.info("version %s is champion already", version)
        return
    spark = tables.spark_session()
    rival = str(champion.version) if champion else None
    if (
        registry.is_approved(challenger)
        and json.loads(challenger.tags["validation_results"])["champion_version"] == rival
        and evaluations.has_passed(spark, schema, challenger)
    ):
        logger.info("version %s has passed, and is approved", version)
        return
    # Until this run has decided, nothing may rest on what an earlier one decided.
    registry.tag(client, challenger, validation_status="PENDING")
    registry.forget_approval(client, challenger)

    rows = data.labelled(spark, source_table, f"{schema}.features", run_date - timedelta(days=days), run_date)
    gate = load_config().gate
    _, newest = data.split(rows)
    holdout = newest.take([*dict.fromkeys(["event_date", data.UNIT, *FEATURES, LABEL])], gate.max_rows)
    with registry.downloaded(model, version) as folder:
        files_sha256 = registry.files_sha256(folder)
        tested, reasons = acceptance(spark, folder, version, holdout)
    compared = Scored("-")
    if champion is not None:
        with registry.downloaded(model, str(champion.version)) as folder:
            compared, broken = acceptance(spark, folder, str(champion.version), holdout)
        if broken:  # a champion that cannot score must not keep a good model out
            logger.warning("champion %s is not compared with: %s", champion.version, broken[0])
    metrics = tested.metrics
    reasons = reasons or objections(metrics, compared.metrics or None, gate)
    status = "FAILED" if reasons else "PASSED"
    about = {
        "model": f"{model}, version {version}",
        "files sha256": files_sha256,
        "tested": f"{run_date} in {environment}",
    }
    about |= comparison.described(holdout, newest.rows)
    rival_scored = compared if compared.metrics else None
    page, shown = comparison.compare(about, origin(challenger), reasons, holdout, tested, rival_scored, gate)

    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name=f"validate version {version}") as active:
        mlflow.set_tags({"validation_status": status, "model_version": version, "environment": environment})
        mlflow.log_metrics(metrics)
        found = {"challenger": metrics, "champion": compared.metrics, "objections": reasons}
        mlflow.log_dict(found, "validation.json")
        with TemporaryDirectory() as written:
            html = Path(written) / "comparison.html"
            html.write_bytes(page.encode())  # as bytes, because a tag holds their SHA-256
            mlflow.log_artifact(str(html))
    readable = {"metrics": rounded(metrics), "champion": rounded(compared.metrics), "champion_version": rival}
    result = {
        "files_sha256": files_sha256,
        "validation_status": status,
        "validation_run": active.info.run_id,
        "validation_results": json.dumps(readable),
        registry.COMPARISON: shown,
    }
    record = [
        {
            "run_date": run_date,
            "environment": environment,
            "model_version": int(version),
            "compared_version": int(compared_with.version),
            "metric": name,
            "value": value,
            "validation_status": status,
            "evidence": registry.evidence(challenger, result),
        }
        for compared_with, values in ((challenger, metrics), (champion, compared.metrics))
        if compared_with is not None
        for name, value in values.items()
    ]
    if record:
        mine = (F.col("run_date") == F.lit(run_date)) & (F.col("model_version") == int(version))
        tables.replace(spark.createDataFrame(record, evaluations.COLUMNS), f"{schema}.evaluations", mine)
    registry.tag(
        client,
        challenger,
        **result,
        validated_at=registry.now(),
        holdout_rows=newest.rows,
        validation_objections="; ".join(reasons)[:500] or "none",
        **{name: f"{value:.4f}" for name, value in metrics.items()},
    )
    card.write(client, model, version)
    if reasons:
        raise GateError(
            "\n  - ".join([f"Version {version} of {model} did not pass, the champion stays as it was:", *reasons])
        )
    beside = f"champion {main_value(compared.metrics)}" if compared.metrics else f"{len(holdout):,} rows"
    logger.info("passes: %s, %s", headline(metrics), beside)


def origin(version: ModelVersion) -> dict[str, str]:
    """Return the tags that say where `version` comes from, by label."""
    names = ["source_model", "source_version", *sorted(registry.LINEAGE)]
    return {name.replace("_", " "): version.tags[name] for name in names if version.tags.get(name)}


def rounded(metrics: dict[str, float]) -> dict[str, float | None]:
    """Return metrics with four digits; None for a NaN, which JSON does not have."""
    return {name: None if isnan(value) else round(value, 4) for name, value in metrics.items()}


def main() -> None:
    run(validate)
