"""What each column is for: the roles that the user named, and what is wrong with them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from ..bundle import nearest
from .reading import AdoptError, Source

KEY_TYPES = ("string", "bigint", "int")
DATE_LIKE = re.compile(r"\s*(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}\b")
YES, NO = ("yes", "y", "true", "t"), ("no", "n", "false", "f")

# Fewer than these are too few to learn from, and to hold some back for the gate.
MIN_ROWS = 500
MIN_POSITIVES = 50
MIN_OF_A_CLASS = 50
MAX_CLASSES = 50
MIN_ENTITIES = 500  # the smallest part that anybody takes is a hundredth of them


@dataclass(frozen=True)
class Roles:
    """The columns that the workflow must know; None where the table has no such column."""

    key: str
    time: str | None
    label: str
    entity: str | None = None
    label_time: str | None = None

    def named(self) -> dict[str, str]:
        """Return the roles that a column has."""
        return {role.name: getattr(self, role.name) for role in fields(self) if getattr(self, role.name)}


@dataclass(frozen=True)
class Adopted:
    """The rows of a source with its roles checked: times are timestamps, the label is what its kind wants."""

    rows: pd.DataFrame
    types: dict[str, str]
    roles: Roles
    classes: list[str]  # of a multi-class label, sorted; else empty
    notes: list[str]


def check(source: Source, roles: Roles, kind: str) -> Adopted:
    """Return the rows of `source`, fit for these roles in a project whose `problem` is `kind`.

    Raises:
        AdoptError: names the first thing that cannot be used.
    """
    roles = replace(roles, **{role: source.renamed.get(name, name) for role, name in roles.named().items()})
    for role, column in roles.named().items():
        if column not in source.types:
            left_out = next((note for note in source.notes if note.startswith(f"{column} ")), "")
            known = f"{nearest(column, source.types)} It has: {', '.join(source.types)}."
            raise AdoptError(left_out or f"{source.name} has no column {column}.{known}")
        if list(roles.named().values()).count(column) > 1:
            raise AdoptError(f"{column} cannot be two things: name another column as --{role.replace('_', '-')}.")
    rows = source.rows.to_pandas(date_as_object=False)
    adopted = Adopted(rows, dict(source.types), roles, [], [])
    _check_key(adopted)
    for column in filter(None, (roles.time, roles.label_time)):
        rows[column] = _times(adopted, column, source.is_file)
    if roles.time:
        _check_time(adopted)
    if roles.entity:
        _check_entity(adopted)
    classes = LABELS[kind](adopted, source.is_file)
    labelled = int(rows[roles.label].notna().sum())
    if labelled < MIN_ROWS:
        raise AdoptError(f"{labelled} rows have a label, and a model needs {MIN_ROWS}: adopt a larger table.")
    if roles.label_time:
        _check_label_time(adopted)
    return Adopted(rows, adopted.types, roles, classes, adopted.notes)


def _check_key(adopted: Adopted) -> None:
    key = adopted.roles.key
    values = adopted.rows[key]
    if adopted.types[key] not in KEY_TYPES:
        raise AdoptError(f"{key} is a {adopted.types[key]}, and a key is text or a whole number: cast it in a view.")
    if nulls := int(values.isna().sum()):
        raise AdoptError(f"{key} is empty in {nulls} rows: name a column that every row has as --key.")
    if twice := int(values.duplicated().sum()):
        raise AdoptError(
            f"{key} is not unique ({twice} rows repeat one): name a column that is, or add one that numbers the rows."
        )


def _check_entity(adopted: Adopted) -> None:
    entity = adopted.roles.entity or ""
    if adopted.types[entity] not in KEY_TYPES:
        raise AdoptError(f"{entity} is a {adopted.types[entity]}, and an entity is text or a whole number: cast it.")
    if (found := adopted.rows[entity].nunique()) < MIN_ENTITIES:
        raise AdoptError(
            f"{entity} has {found} values, and parts of the data are whole entities, which takes {MIN_ENTITIES}: "
            "name another column, or type --entity none."
        )


def _check_time(adopted: Adopted) -> None:
    column = adopted.roles.time or ""
    times = adopted.rows[column]
    if nulls := int(times.isna().sum()):
        raise AdoptError(f"{column} is empty in {nulls} rows: leave them out, or name another column as --time.")
    if times.dt.date.nunique() < 2:
        raise AdoptError(f"All rows have the same day in {column}: type --time none if the table is a snapshot.")


def _check_label_time(adopted: Adopted) -> None:
    roles, rows = adopted.roles, adopted.rows
    known, label = rows[roles.label_time], rows[roles.label]
    if roles.time and (early := int((known < rows[roles.time]).sum())):
        raise AdoptError(f"{roles.label_time} is before {roles.time} in {early} rows: name another column.")
    if unsaid := int((label.notna() & known.isna()).sum()):
        raise AdoptError(f"{roles.label_time} is empty in {unsaid} rows that have a label: name another column.")


def _times(adopted: Adopted, column: str, is_file: bool) -> pd.Series:
    """Return `column` as timestamps in UTC, without a zone."""
    values, kind = adopted.rows[column], adopted.types[column]
    if not is_file and kind != "timestamp":
        raise AdoptError(f"{column} is a {kind}, not a timestamp: adopt a view that casts it.")
    adopted.types[column] = "timestamp"
    if kind in ("timestamp", "date"):
        return pd.to_datetime(values, utc=True).dt.tz_localize(None).astype("datetime64[us]")
    if kind != "string":
        raise AdoptError(f"{column} holds numbers, not times: write them as 2026-01-31 or 2026-01-31T14:00:00.")
    texts = values.dropna()
    parts = texts.str.extract(DATE_LIKE).dropna().astype(int)
    day_first = None
    if len(parts) == len(texts) > 0:  # such as 31/01/2026
        day_first, month_first = bool((parts[0] > 12).any()), bool((parts[1] > 12).any())
        if day_first == month_first:
            raise AdoptError(f"{column} does not tell day from month ({texts.iloc[0]}): write times as 2026-01-31.")
    elif len(parts):
        raise AdoptError(f"{column} is not written in one way ({texts.iloc[0]}): write times as 2026-01-31.")
    try:
        layout = None if day_first else _layout(texts)
        parsed = pd.to_datetime(values, dayfirst=bool(day_first), utc=True, format=layout)
    except (ValueError, OverflowError):
        raise AdoptError(f"{column} holds no times that can be read ({texts.iloc[0]}): write 2026-01-31.") from None
    return parsed.dt.tz_localize(None).astype("datetime64[us]")


def _layout(texts: pd.Series) -> str | None:
    """Return the layout that pandas reads `texts` with: ISO 8601 where they begin with a year."""
    if texts.str.match(r"\d{4}-\d\d-\d\d").all():
        return "ISO8601"
    if texts.str.match(r"\d{4}[/.]|\d{1,2}[/.-]\d{1,2}[/.-]\d{4}").all():
        return None
    raise ValueError("no date that has one meaning")


def _binary(adopted: Adopted, is_file: bool) -> list[str]:
    """Make the label 0, 1 or null."""
    label, rows = adopted.roles.label, adopted.rows
    values = rows[label].dropna()
    found = sorted(values.unique(), key=str)
    words = {str(value).strip().lower() for value in found}
    if adopted.types[label] == "string" and is_file and len(found) == 2 and words & {*YES} and words & {*NO}:
        rows[label] = rows[label].str.strip().str.lower().isin(YES).astype(float).where(rows[label].notna())
        adopted.types[label] = "int"
        positive = next(value for value in found if value.strip().lower() in YES)
        adopted.notes.append(f"{label} becomes a number: 1 for {positive}, else 0.")
    elif adopted.types[label] == "boolean":
        rows[label] = rows[label].astype(float)
        if is_file:
            adopted.types[label] = "int"
            adopted.notes.append(f"{label} becomes a number: 1 for true, else 0.")
    elif adopted.types[label] == "string" or not values.isin([0, 1]).all():
        shown = ", ".join(map(str, found[:3])) + (", …" if len(found) > 3 else "")
        raise AdoptError(
            f"{label} is {shown}, and this project predicts 0 or 1: name another column, "
            "or render the project with another answer to `problem`."
        )
    elif is_file:
        adopted.types[label] = "int"
    positives = int(rows[label].sum())
    for word, count in (("1", positives), ("0", len(values) - positives)):
        if count < MIN_POSITIVES:
            raise AdoptError(f"{label} is {word} in {count} rows, and a model needs {MIN_POSITIVES}: adopt more rows.")
    return []


def _multiclass(adopted: Adopted, is_file: bool) -> list[str]:
    """Make the label text."""
    label, rows = adopted.roles.label, adopted.rows
    kind = adopted.types[label]
    if kind in ("double", "float", "timestamp", "date") or kind.startswith("decimal"):
        raise AdoptError(f"{label} is a {kind}, and this project predicts classes: name a column of text.")
    if kind != "string":
        if not is_file:
            raise AdoptError(f"{label} is a {kind}, and classes are text: adopt a view that casts it.")
        whole = rows[label].map(lambda value: str(int(value)), na_action="ignore")
        rows[label] = whole.astype(object)
        adopted.types[label] = "string"
    counts = rows[label].value_counts()
    if len(counts) > MAX_CLASSES:
        raise AdoptError(f"{label} has {len(counts)} values, and at most {MAX_CLASSES} can be told apart: group them.")
    if len(counts) < 3:
        raise AdoptError(
            f"{label} has {len(counts)} values, and this project tells three or more apart: name another column, "
            "or render the project with another answer to `problem`."
        )
    if counts.min() < MIN_OF_A_CLASS:
        raise AdoptError(
            f"{label} is {counts.idxmin()} in {counts.min()} rows, and a class needs {MIN_OF_A_CLASS}: "
            "leave such rows out, or join classes."
        )
    return sorted(counts.index)


def _regression(adopted: Adopted, is_file: bool) -> list[str]:
    """Make the label a number."""
    label, rows = adopted.roles.label, adopted.rows
    kind = adopted.types[label]
    if kind in ("string", "boolean", "timestamp", "date"):
        raise AdoptError(
            f"{label} is a {kind}, and this project predicts a number: name another column, "
            "or render the project with another answer to `problem`."
        )
    if kind.startswith("decimal") and not is_file:
        raise AdoptError(f"{label} is a {kind}, and estimators want a double: adopt a view that casts it.")
    rows[label] = rows[label].astype(float)
    if not np.isfinite(rows[label].dropna()).all():
        raise AdoptError(f"{label} is infinite in some rows: leave them out.")
    if rows[label].nunique() < 10:
        raise AdoptError(
            f"{label} has {rows[label].nunique()} values, which are classes rather than numbers: name another column, "
            "or render the project with another answer to `problem`."
        )
    if is_file:
        adopted.types[label] = "double"
    return []


LABELS: dict[str, Callable[[Adopted, bool], list[str]]] = {
    "binary-classification": _binary,
    "multiclass-classification": _multiclass,
    "regression": _regression,
}
