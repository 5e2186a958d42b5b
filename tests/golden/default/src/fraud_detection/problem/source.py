"""The source table: its columns, what they mean to the workflow, and the rules that its rows obey."""

# Column name and Spark type.
COLUMNS = {
    "transaction_id": "string",
    "card_id": "string",
    "event_time": "timestamp",
    "amount": "double",
    "merchant_category": "string",
    "country": "string",
    "channel": "string",
    "is_fraud": "int",
    "label_time": "timestamp",
}

# What the workflow must know of the columns. Where your table has no such column, write None.
KEY = "transaction_id"  # names one row
ENTITY: str | None = "card_id"  # its rows stay together when a part is taken; None: rows are taken one by one
TIME: str | None = "event_time"  # when it happened, in UTC; None: the table is a snapshot, scored as a whole
LABEL = "is_fraud"  # what is predicted; null while nobody knows
LABEL_TIME: str | None = "label_time"  # when the label became known, in UTC; None: it counts at once

# What every row obeys: a sentence, and the SQL that is true for a good row. These need no rule: KEY is unique and never
# null, nor is TIME, and LABEL_TIME is not before TIME.
RULES = {
    **{
        f"{column} is never null": f"{column} IS NOT NULL"
        for column in ("card_id", "amount", "merchant_category", "country", "channel")
    },
    "amount lies between 0 and 100000": "amount BETWEEN 0 AND 100000",
    "country has two letters": "length(country) = 2",
    "is_fraud is 0, 1 or not yet known": "is_fraud IS NULL OR is_fraud IN (0, 1)",
}
