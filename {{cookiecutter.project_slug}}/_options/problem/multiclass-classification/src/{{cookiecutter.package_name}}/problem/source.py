"""The source table: its columns, what they mean to the workflow, and the rules that its rows obey."""

# Column name and Spark type: one row per alarm that a pump raised, with the readings of that moment.
COLUMNS = {
    "alarm_id": "string",
    "pump_id": "string",
    "alarm_time": "timestamp",
    "pump_model": "string",
    "site": "string",
    "rotation": "double",  # revolutions per minute
    "vibration": "double",  # mm/s
    "temperature": "double",  # degrees Celsius, of the bearing
    "pressure": "double",  # bar, at the outlet
    "power": "double",  # kW
    "fault": "string",
    "inspection_time": "timestamp",
}

# What the workflow must know of the columns. Where your table has no such column, write None.
KEY = "alarm_id"  # names one row
ENTITY: str | None = "pump_id"  # its rows stay together when a part is taken; None: rows are taken one by one
TIME: str | None = "alarm_time"  # when it happened, in UTC; None: the table is a snapshot, scored as a whole
LABEL = "fault"  # what is predicted; null while nobody knows
LABEL_TIME: str | None = "inspection_time"  # when the label became known, in UTC; None: it counts at once

# What a label can be. An estimator learns the position in this list, and so orders its probabilities.
CLASSES = ["bearing", "blockage", "leak", "none"]

# What every row obeys: a sentence, and the SQL that is true for a good row. These need no rule: KEY is unique and never
# null, nor is TIME, and LABEL_TIME is not before TIME.
RULES = {
    **{f"{column} is never null": f"{column} IS NOT NULL" for column in ("pump_id", "pump_model", "site")},
    "rotation lies between 0 and 5000": "rotation BETWEEN 0 AND 5000",
    "vibration lies between 0 and 100": "vibration BETWEEN 0 AND 100",
    "temperature lies between -50 and 250": "temperature BETWEEN -50 AND 250",
    "pressure lies between 0 and 50": "pressure BETWEEN 0 AND 50",
    "power lies between 0 and 1000": "power BETWEEN 0 AND 1000",
    f"fault is one of {', '.join(CLASSES)}, or not yet known": f"fault IS NULL OR fault IN {(*CLASSES,)}",
}
