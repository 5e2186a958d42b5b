# Databricks notebook source
# MAGIC %md
# MAGIC # Explore
# MAGIC
# MAGIC Look at the features and predictions in dev, train a variant, and compare it with the champion. Nothing here is registered or deployed:
# MAGIC what works moves into the package. Jobs never run notebooks.
# MAGIC
# MAGIC First: `databricks bundle deploy`, then run the jobs `sample_data`, `training` and `inference` of dev.
# MAGIC Open the repository as a Git folder in the workspace, so that the cell below finds the package. Run it again after a change below `src/`.
# MAGIC The deployment also leaves a copy of both in `.bundle` of your home folder. The next deployment overwrites what you change there.

# COMMAND ----------

# MAGIC %pip install --quiet ..

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Which model
# MAGIC
# MAGIC `uv run models status --target dev` on your machine prints the full name in the row `model`. In dev it carries your user name, for example
# MAGIC `dev.dev_ada_fraud_detection.dev_ada_fraud_detection_model`. The tables are in the same schema. Type it into the field at the top.
# MAGIC In Catalog Explorer you find the same names under the catalog `dev`.

# COMMAND ----------

from datetime import date, timedelta

import mlflow
import pandas as pd

from fraud_detection.platform import data, registry, tables
from fraud_detection.platform.config import load_config
from fraud_detection.platform.evaluate import evaluate
from fraud_detection.problem.features import FEATURES
from fraud_detection.problem.model import PARAMETERS, PREDICT, fit
from fraud_detection.problem.source import LABEL
from fraud_detection.tasks.validate import objections

dbutils.widgets.text("model", "")
dbutils.widgets.text("source_table", "")
model = dbutils.widgets.get("model")
if model.count(".") != 2:
    raise ValueError("Type the full name of your model (catalog.schema.model) into the field `model` at the top.")
schema = model.rpartition(".")[0]
source_table = dbutils.widgets.get("source_table") or f"{schema}.source"

spark = tables.spark_session()
client = registry.connect()
today = date.today()

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the model sees

# COMMAND ----------

rows = data.labelled(spark, source_table, f"{schema}.features", today - timedelta(days=90), today)
limit = load_config().training.max_rows
training, holdout = (part.take([*FEATURES, LABEL], limit) for part in data.split(rows))
print(f"{len(training)} rows to learn from, {len(holdout)} to compare on")
training.describe(include="all").T

# COMMAND ----------

# MAGIC %md
# MAGIC ## What the champion predicted

# COMMAND ----------

predictions = tables.read(spark, f"{schema}.predictions")
predictions.groupBy("event_date", "model_version").count().orderBy("event_date").toPandas()

# COMMAND ----------

# MAGIC %md
# MAGIC ## A variant
# MAGIC
# MAGIC Change the parameters here, or fit another estimator. Those of the champion's code are `PARAMETERS` in `problem/model.py`.

# COMMAND ----------

variant = fit(training, PARAMETERS | {"max_leaf_nodes": 31})

# COMMAND ----------

# MAGIC %md
# MAGIC ## Compare it with the champion
# MAGIC
# MAGIC Both score the same holdout: the newest labelled days, from which neither has learned.

# COMMAND ----------

champion = registry.get(client, model, registry.CHAMPION)
champion_model = mlflow.pyfunc.load_model(f"models:/{model}/{champion.version}")
metrics = {
    f"champion (version {champion.version})": evaluate(champion_model.predict, holdout),
    "variant": evaluate(getattr(variant, PREDICT), holdout),
}
pd.DataFrame(metrics)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Would the gate let it pass?
# MAGIC
# MAGIC An empty list lets it pass. Then put the change into `src/fraud_detection/problem/model.py`, and go on with docs/onboarding.md, "Change the model".

# COMMAND ----------

champion_metrics, variant_metrics = metrics.values()
objections(variant_metrics, champion_metrics, load_config().gate)
