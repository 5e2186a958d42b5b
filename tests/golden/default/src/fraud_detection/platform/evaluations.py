"""The table `evaluations`: the results of the gate, in a table that nobody else can write."""

from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from . import registry, tables

COLUMNS = """
    run_date DATE, environment STRING, model_version INT, compared_version INT, metric STRING, value DOUBLE,
    validation_status STRING, evidence STRING
"""


def has_passed(spark: SparkSession, schema: str, version: ModelVersion) -> bool:
    """Tell whether the gate let `version` pass, with the result that its tags show and with the files that it has now.

    Tags alone do not say so: whoever may approve may write them. The table `<schema>.evaluations` is the gate's own.
    """
    table = f"{schema}.evaluations"
    if not tables.exists(spark, table) or "evidence" not in tables.read(spark, table).columns:
        return False
    passed = (F.col("evidence") == registry.evidence(version)) & (F.col("validation_status") == "PASSED")
    if tables.read(spark, table).where(passed).isEmpty():
        return False
    with registry.downloaded(version.name, str(version.version)) as folder:
        return registry.files_sha256(folder) == version.tags["files_sha256"]
