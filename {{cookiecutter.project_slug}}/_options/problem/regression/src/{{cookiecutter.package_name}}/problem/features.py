"""What a model sees of a row. Training and scoring read one table, so they cannot differ."""

from datetime import timedelta

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

NUMERIC = ["weight", "distance", "hour_of_day", "day_of_week", "sender_parcels_1d", "weight_to_sender_mean"]
CATEGORICAL = ["shipping", "carrier", "destination"]
FEATURES = NUMERIC + CATEGORICAL

# How far back the features of one row look.
LOOKBACK = timedelta(days=7)


def compute_features(rows: DataFrame) -> DataFrame:
    """Return `rows` with FEATURES as columns; the history of each sender must be among them.

    Returns:
        NUMERIC as doubles (kg and km, as in the source; `day_of_week` counts from 1, Sunday), CATEGORICAL as strings.
    """
    seconds = F.col("handed_in_at").cast("long")
    sender = Window.partitionBy("sender_id").orderBy(seconds)
    week_before = sender.rangeBetween(-int(LOOKBACK.total_seconds()), -1)
    day_before = sender.rangeBetween(-24 * 60 * 60, -1)
    # A sender without history is compared with itself; the floor keeps empty envelopes from dividing by zero.
    sender_mean = F.greatest(F.coalesce(F.avg("weight").over(week_before), F.col("weight")), F.lit(0.01))
    return rows.withColumns(
        {
            "hour_of_day": F.hour("handed_in_at").cast("double"),
            "day_of_week": F.dayofweek("handed_in_at").cast("double"),
            "sender_parcels_1d": F.count("parcel_id").over(day_before).cast("double"),
            "weight_to_sender_mean": F.col("weight") / sender_mean,
        }
    )
