"""`python -m local adopt`: makes a table of one's own the problem of this project. Never deployed."""

# What a column can be for, in the words of a question: "Which column …?"
ROLES = {
    "key": "names one row",
    "time": "says when it happened (none: the table is a snapshot)",
    "label": "is predicted",
    "entity": "says whose rows stay together when a part is taken (none: nobody's)",
    "label_time": "says when the label became known (none: it counts at once)",
}

ADOPTED = "adopted"  # folder below `.local/`, with the rows that were adopted
