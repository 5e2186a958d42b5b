"""An estimator that Spark itself fits, as docs/large-data.md tells it, on Apache Spark: from training to scored rows.

Sail has no barrier stages, which such estimators are made of.
"""

import sqlite3
from contextlib import closing

import pytest
from conftest import Bake
from databricks.bundles.jobs import Job
from deltalake import DeltaTable
from helpers import load_bundle
from test_apache_spark import passes, put_on_spark
from test_problems import OLD_IMPORT, OLD_PARAMETERS, OLD_REQUIREMENTS, blocks, replace, set_up

XGBOOST = "xgboost-cpu"  # the same without CUDA, of a hundredth of the size
TESTED = "tests/integration/test_pipeline.py::test_the_first_model_that_passes_becomes_champion"
ON_A_LAPTOP = "from fraud_detection.problem.model import fit_distributed; assert fit_distributed(None, {}) is None"


@pytest.mark.slow
def test_spark_fits_a_model_that_passes_the_gate_and_scores(bake_anew: Bake) -> None:
    project = set_up(bake_anew, XGBOOST, compute="classic")
    top, estimator, distributed = blocks(project.root, "XGBoost on Spark", "large-data")
    imports, rest = top.split("\n\nPARAMETERS")
    project.edit(
        "model.py",
        (OLD_REQUIREMENTS, ""),
        (OLD_PARAMETERS, f"PARAMETERS{rest}".replace('"xgboost"', f'"{XGBOOST}"')),
        (OLD_IMPORT, f"{imports}\n"),
        (r"HistGradientBoostingClassifier\(\*\*.*?\),\n", f"{estimator.strip()},\n"),
        (r"^def suggest", f"{distributed}\n\ndef suggest"),
    )
    project.edit("config.yml", (r"max_rows: 1000000(?= +# of more labelled rows)", "max_rows: 1000"))
    project.run("ruff", "check", "--fix")  # sorts what is imported
    project.run("ruff", "format", "--check")
    project.run("python", "-c", ON_A_LAPTOP)
    put_on_spark(project.root)

    passes(project.root, "classic", TESTED, packages=f"--with {XGBOOST}")

    state = project.root / "spark" / "home0" / ".local"
    with closing(sqlite3.connect(state / "mlflow.db")) as database:
        tags = dict(database.execute("SELECT key, value FROM model_version_tags").fetchall())
    assert int(tags["training_rows"]) == int(tags["labelled_rows"]) > 1000, "more rows than one machine takes"
    assert tags["validation_status"] == "PASSED"
    scored = DeltaTable(state / "lakehouse" / "spark_catalog" / "pipeline" / "predictions").to_pyarrow_table()
    assert len(set(scored["fraud_score"].to_pylist())) > 100


def test_one_task_of_a_serverless_job_gets_a_cluster(bake_anew: Bake) -> None:
    project = bake_anew()
    cluster, task = blocks(project, "Distributed training", "compute", "yaml")
    replace(
        project / "resources" / "training.job.yml",
        (r"(?<=training_fraction}\"}\n)", cluster),
        (r"(?<=task_key: features\n)        disable_auto_optimization: true .*?environment_key: default\n", task),
    )
    job = load_bundle(project, "prod")["resources"]["jobs"]["training"]
    assert Job.from_dict({name: value for name, value in job.items() if name != "id"}).job_clusters
    assert [each["task_key"] for each in job["tasks"] if "environment_key" not in each] == ["train"]
