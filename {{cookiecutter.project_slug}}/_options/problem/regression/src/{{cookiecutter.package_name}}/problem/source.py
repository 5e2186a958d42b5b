"""The source table: its columns, what they mean to the workflow, and the rules that its rows obey."""

# Column name and Spark type: one row per parcel that a sender handed in.
COLUMNS = {
    "parcel_id": "string",
    "sender_id": "string",
    "handed_in_at": "timestamp",
    "weight": "double",  # kg
    "distance": "double",  # km by road
    "shipping": "string",
    "carrier": "string",
    "destination": "string",
    "delivery_hours": "double",
    "confirmed_at": "timestamp",
}

# What the workflow must know of the columns. Where your table has no such column, write None.
KEY = "parcel_id"  # names one row
ENTITY: str | None = "sender_id"  # its rows stay together when a part is taken; None: rows are taken one by one
TIME: str | None = "handed_in_at"  # when it happened, in UTC; None: the table is a snapshot, scored as a whole
LABEL = "delivery_hours"  # what is predicted: hours until the parcel arrives; null while nobody knows
# When the label became known, in UTC; None: it counts at once. Carriers confirm after a week, however fast they were:
# if a label were known on delivery, the newest labelled rows would be fast parcels only, and no fair sample.
LABEL_TIME: str | None = "confirmed_at"

# What every row obeys: a sentence, and the SQL that is true for a good row. These need no rule: KEY is unique and never
# null, nor is TIME, and LABEL_TIME is not before TIME.
RULES = {
    **{
        f"{column} is never null": f"{column} IS NOT NULL"
        for column in ("sender_id", "shipping", "carrier", "destination")
    },
    "weight lies between 0 and 100": "weight BETWEEN 0 AND 100",
    "distance lies between 0 and 5000": "distance BETWEEN 0 AND 5000",
    "delivery_hours is not yet known or lies between 0 and 168": (
        "delivery_hours IS NULL OR delivery_hours BETWEEN 0 AND 168"
    ),
}
