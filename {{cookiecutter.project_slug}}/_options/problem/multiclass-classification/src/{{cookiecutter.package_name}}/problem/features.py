"""What a model sees of a row. Training and scoring read one table, so they cannot differ."""

from datetime import timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

NUMERIC = ["rotation", "vibration", "temperature", "pressure", "power", "vibration_to_pump_mean", "pump_alarms_1d"]
CATEGORICAL = ["pump_model", "site"]
FEATURES = NUMERIC + CATEGORICAL

# How far back the features of one row look.
LOOKBACK = timedelta(days=7)


def compute_features(rows: DataFrame) -> DataFrame:
    """Return `rows` with FEATURES as columns; the history of each pump must be among them.

    Returns:
        NUMERIC as doubles (readings in the units of the source), CATEGORICAL as strings.
    """
    seconds = F.col("alarm_time").cast("long")
    pump = Window.partitionBy("pump_id").orderBy(seconds)
    week_before = pump.rangeBetween(-int(LOOKBACK.total_seconds()), -1)
    day_before = pump.rangeBetween(-24 * 60 * 60, -1)
    # A pump without history is compared with itself; the floor keeps a pump that stood still from dividing by zero.
    pump_mean = F.greatest(F.coalesce(F.avg("vibration").over(week_before), F.col("vibration")), F.lit(0.01))
    return rows.withColumns(
        {
            "vibration_to_pump_mean": F.col("vibration") / pump_mean,
            "pump_alarms_1d": F.count("alarm_id").over(day_before).cast("double"),
        }
    )
