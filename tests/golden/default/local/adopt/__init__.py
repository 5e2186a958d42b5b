"""`python -m local adopt`: makes a table of one's own the problem of this project. Never deployed."""

import json
from pathlib import Path

from ..engine import STATE

# What a column can be for, in the words of a question: "Which column …?"
ROLES = {
    "key": "names one row",
    "time": "says when it happened (none: the table is a snapshot)",
    "label": "is predicted",
    "entity": "says whose rows stay together, such as a customer's (none: nobody's)",
    "label_time": "says when the label became known (none: it counts at once)",
}

ADOPTED = "adopted"  # folder below `.local/`, with the rows that were adopted and their calendar
ROWS, CALENDAR = "source.parquet", "calendar.json"


def calendar(root: Path) -> dict[str, str]:
    """Return `today`, the day after the newest adopted row, and `rows_per_day`; nothing if no rows were adopted."""
    path = root / STATE / ADOPTED / CALENDAR
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
