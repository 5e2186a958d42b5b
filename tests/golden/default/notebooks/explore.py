# Databricks notebook source
# MAGIC %md
# MAGIC # Explore
# MAGIC
# MAGIC Train a variant of the model on the features of dev, compare it with the champion, and log it to MLflow. Nothing here is registered or deployed:
# MAGIC what works moves into the package, and the last cell says how. Jobs never run notebooks.
# MAGIC
# MAGIC **In the workspace:** `databricks bundle deploy`, then run the jobs `sample_data` and `training` of dev. Open the repository as a Git folder, so that the next
# MAGIC cell finds the package. Run it again after a change below `src/`.
# MAGIC The deployment also leaves a copy of both in `.bundle` of your home folder. The next deployment overwrites what you change there.
# MAGIC
# MAGIC **On your machine:** `uv run python -m local run dev sample_data`, then the same for `training`. `uv run python notebooks/explore.py` runs all cells.
# MAGIC VS Code runs them one by one, once `uv add --dev ipykernel` has given it a kernel. The next two cells are for the workspace, and do nothing here.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

# MAGIC %restart_python

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which model
# MAGIC
# MAGIC In the workspace, type its full name into the field at the top. `uv run models status --target dev` on your machine prints it in the row `model`. In dev it
# MAGIC carries your user name, for example `dev.dev_ada_fraud_detection.dev_ada_fraud_detection_model`. The tables are in the same schema.
# MAGIC In Catalog Explorer you find the same names under the catalog `dev`.

# COMMAND ----------

import time
from datetime import timedelta

import mlflow
import pandas as pd
from pyspark.sql import functions as F

from fraud_detection.platform import data, registry, tables
from fraud_detection.platform.comparison import Scored, margins, verdict
from fraud_detection.platform.config import load_config
from fraud_detection.platform.evaluate import assess, two_dimensional
from fraud_detection.problem.features import FEATURES
from fraud_detection.problem.metrics import HIGHER_IS_BETTER
from fraud_detection.problem.model import PARAMETERS, PREDICT, fit, prediction
from fraud_detection.problem.source import LABEL
from fraud_detection.tasks.validate import objections

if "dbutils" in globals():  # in the workspace
    dbutils.widgets.text("model", "")
    dbutils.widgets.text("source_table", "")
    model = dbutils.widgets.get("model")
    if model.count(".") != 2:
        raise ValueError("Type the full name of your model (catalog.schema.model) into the field `model` at the top.")
    source_table = dbutils.widgets.get("source_table") or f"{model.rpartition('.')[0]}.source"
else:
    from local.notebook import open_dev

    model, source_table = open_dev()

spark, client = tables.spark_session(), registry.connect()
features_table = f"{model.rpartition('.')[0]}.features"
champion = registry.find(client, model, registry.CHAMPION)
newest = champion or registry.find(client, model, registry.CHALLENGER)  # a first model that the gate refused
if newest is None:
    raise ValueError(f"{model} has no version yet: run the jobs `sample_data` and `training` of dev first.")

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the model sees
# MAGIC
# MAGIC The rows that training and the gate would use on the day after the newest features, divided as they do it.

# COMMAND ----------

last_day = tables.read(spark, features_table).agg(F.max("event_date")).first()[0]
run_date = last_day + timedelta(days=1)
rows = data.labelled(spark, source_table, features_table, run_date - timedelta(days=90), run_date)
known, held_out = data.split(rows)
champion_model = mlflow.pyfunc.load_model(f"models:/{model}/{champion.version}") if champion else None
seen = champion_model.metadata.get_input_schema().input_names() if champion else []
training = known.take([*FEATURES, LABEL], load_config().training.max_rows)
holdout = held_out.take([*dict.fromkeys([data.UNIT, *FEATURES, *seen, LABEL])], load_config().gate.max_rows)
print(f"{len(training)} rows to learn from, and {len(holdout)} to compare on, which neither model has seen")
training.describe(include="all").T

# COMMAND ----------

# MAGIC %md
# MAGIC ## A variant
# MAGIC
# MAGIC Change other parameters here, or fit another estimator.

# COMMAND ----------

CHANGE = {"max_leaf_nodes": 31}

if unknown := CHANGE.keys() - PARAMETERS.keys():
    raise ValueError(f"problem/model.py has no parameter {min(unknown)}. It has: {', '.join(PARAMETERS)}.")
variant = fit(training, PARAMETERS | CHANGE)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Compare it with the champion
# MAGIC
# MAGIC Both score the same holdout, and are measured as the gate measures. A difference that is not larger than its margin, half of a 95 % interval, may be chance.
# MAGIC Without a champion there is nothing to compare with.

# COMMAND ----------


def measure(version, predict, columns):
    """Return the metrics and the predictions of a model on the holdout."""
    predict(holdout[columns].head(1))  # the first call pays for loading, not for scoring
    start = time.perf_counter()
    raw = two_dimensional(predict(holdout[columns]))
    return Scored(version, assess(holdout, raw, time.perf_counter() - start), prediction(raw))


tested = measure("variant", getattr(variant, PREDICT), FEATURES)
rival = measure(str(champion.version), champion_model.predict, seen) if champion else None
comparison = pd.DataFrame({"variant": tested.metrics})
if rival:
    margin = margins(holdout, tested, rival)
    comparison.insert(0, f"champion {rival.version}", pd.Series(rival.metrics))
    comparison["difference"] = (comparison["variant"] - comparison.iloc[:, 0])[list(HIGHER_IS_BETTER)]
    comparison["margin"] = pd.Series(margin["difference"])
    comparison["it is"] = [verdict(name, comparison["difference"][name], margin) for name in comparison.index]
print(comparison.round(4).to_string(na_rep=""))

# COMMAND ----------

# MAGIC %md
# MAGIC ## Keep it
# MAGIC
# MAGIC A run in the experiment of your trainings, without a model: only the job `training` registers one.

# COMMAND ----------

reasons = objections(tested.metrics, rival.metrics if rival else None, load_config().gate)
mlflow.set_experiment(experiment_id=client.get_run(newest.tags["training_run"]).info.experiment_id)
with mlflow.start_run(run_name=f"explore {run_date}") as run:
    mlflow.set_tags({"model": model, "compared_version": rival.version if rival else "none"})
    mlflow.log_params(PARAMETERS | CHANGE)
    mlflow.log_metrics(tested.metrics)
    mlflow.log_text(comparison.to_string(na_rep=""), "comparison.txt")
print(f"Run {run.info.run_id} is in MLflow.")

# COMMAND ----------

# MAGIC %md
# MAGIC ## How it gets into the project

# COMMAND ----------

gate = "The gate would let it pass." if not reasons else "\n  - ".join(["The gate would refuse it:", *reasons])
print(f"""{gate}

If you want it, on a branch of the repository:
1. Write {CHANGE} into PARAMETERS of src/fraud_detection/problem/model.py. Another estimator goes into `fit` there, a feature into
   problem/features.py, a threshold into problem/config.yml.
2. uv run pytest
3. uv run python -m local run dev training
4. Commit, and propose the change for review: docs/onboarding.md, "Change the model".
""")
