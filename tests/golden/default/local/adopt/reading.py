"""Reads a file, or a table of Unity Catalog, into Arrow: columns with plain names, and the Spark type of each."""

import csv
import io
import keyword
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.sql import Disposition, Format, StatementResponse, StatementState

THREE_PARTS = re.compile(r"[^.\s]+\.[^.\s]+\.[^.\s]+")
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAKEN = {"event_date"}  # a column of the project's own tables
MAX_TABLE_ROWS = 2_000_000  # more than that is no matter of minutes, nor of a laptop's memory
SPARK_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.date32(): "date",
}


class AdoptError(ValueError):
    """The data cannot be adopted as it is. The message says what is wrong, and what to type."""


@dataclass(frozen=True)
class Source:
    """What was read: `rows`, the Spark type of each column, and what the user should know about it."""

    name: str
    rows: pa.Table
    types: dict[str, str]
    is_file: bool
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read(name: str) -> Source:
    """Return the rows of the CSV or Parquet file, or of the table, `name`.

    Raises:
        AdoptError: if there is no such file or table, or it can be read in more than one way.
    """
    path = Path(name)
    if path.is_file():
        if path.suffix.lower() not in (".csv", ".parquet"):
            raise AdoptError(f"{path.name} is neither CSV nor Parquet: save it as one of them, with that ending.")
        rows = read_csv(path) if path.suffix.lower() == ".csv" else read_parquet(path)
        return _plain(name, rows, {}, is_file=True)
    if not THREE_PARTS.fullmatch(name) or path.suffix.lower() in (".csv", ".parquet"):
        raise AdoptError(f"There is no file {name}: type its path, or the name of a table as catalog.schema.table.")
    try:
        rows, types = read_table(name, WorkspaceClient())
    except (DatabricksError, ValueError) as error:
        (first, *_) = str(error).splitlines() or [""]
        raise AdoptError(f"Table {name} cannot be read ({first}): log in with databricks auth login.") from None
    return _plain(name, rows, types, is_file=False)


def read_csv(path: Path) -> pa.Table:
    """Return the rows of a CSV file: UTF-8, separated by commas, with the names of the columns in the first line.

    Raises:
        AdoptError: if it is not such a file.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AdoptError(f"{path.name} is not in UTF-8: save it in UTF-8, or as Parquet.") from None
    header = next(csv.reader(io.StringIO(text[:100_000])), [])
    if len(header) < 2:
        raise AdoptError(f"{path.name} has no columns separated by commas: save it with commas, or as Parquet.")
    if "" in header:
        raise AdoptError(f"Column {header.index('') + 1} of {path.name} has no name: write one into its first line.")
    if any(re.fullmatch(r"[-+\d.eE]+", name) for name in header):
        raise AdoptError(f"The first line of {path.name} holds values: write the names of the columns above it.")
    _refuse_twice(path.name, header)
    try:
        # One block, since types are found from the first one. Times are text here: they are looked at more closely.
        return pa.csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=pa.csv.ReadOptions(block_size=min(len(text.encode()) + 1, 2**31 - 1)),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(strings_can_be_null=True, timestamp_parsers=["never"]),
        )
    except pa.ArrowInvalid as error:
        raise AdoptError(f"{path.name} is not valid CSV ({error}): fix that line, or save it as Parquet.") from None


def read_parquet(path: Path) -> pa.Table:
    """Return the rows of a Parquet file.

    Raises:
        AdoptError: if it is none.
    """
    try:
        rows = pa.parquet.read_table(path)
    except pa.ArrowInvalid:
        raise AdoptError(f"{path.name} is not a Parquet file: export it again, or save it as CSV.") from None
    _refuse_twice(path.name, rows.column_names)
    return rows.drop_columns([name for name in rows.column_names if name.startswith("__index_level_")])  # of pandas


def read_table(name: str, workspace: WorkspaceClient) -> tuple[pa.Table, dict[str, str]]:
    """Return the rows of a table or view, and the Spark type of each column. A SQL warehouse reads it.

    Raises:
        AdoptError: if there is no warehouse, or the table is too large.
    """
    warehouse = next((found.id for found in workspace.warehouses.list()), None)
    if warehouse is None:
        raise AdoptError("You have no SQL warehouse to read the table with: ask for one, or adopt a Parquet file.")
    quoted = ".".join("`" + part.replace("`", "``") + "`" for part in name.split("."))
    counted = _arrow(_run(workspace, warehouse, f"SELECT count(*) AS rows FROM {quoted}"), workspace)
    count = counted["rows"][0].as_py()
    if count > MAX_TABLE_ROWS:
        raise AdoptError(
            f"{name} has {count:,} rows, and adopt reads at most {MAX_TABLE_ROWS:,}: adopt a view of its newest months."
        )
    response = _run(workspace, warehouse, f"SELECT * FROM {quoted}")
    columns = (response.manifest and response.manifest.schema and response.manifest.schema.columns) or []
    types = {column.name or "": (column.type_text or "").lower() for column in columns}
    return _arrow(response, workspace), types


def _run(workspace: WorkspaceClient, warehouse: str | None, statement: str) -> StatementResponse:
    response = workspace.statement_execution.execute_statement(
        statement,
        warehouse or "",
        disposition=Disposition.EXTERNAL_LINKS,
        format=Format.ARROW_STREAM,
        wait_timeout="30s",
    )
    while response.status and response.status.state in (StatementState.PENDING, StatementState.RUNNING):
        time.sleep(2)
        response = workspace.statement_execution.get_statement(response.statement_id or "")
    if response.status is None or response.status.state != StatementState.SUCCEEDED:
        error = response.status and response.status.error
        raise ValueError(error.message if error else "the statement did not succeed")
    return response


def _arrow(response: StatementResponse, workspace: WorkspaceClient) -> pa.Table:
    parts = []
    result = response.result
    while result is not None:
        index = None
        for link in result.external_links or []:
            # The address is a secret of its own: whoever sends a token along is refused.
            with urlopen(link.external_link or "") as stream:
                parts.append(pa.ipc.open_stream(stream.read()).read_all())
            index = link.next_chunk_index
        if index is None:
            break
        result = workspace.statement_execution.get_statement_result_chunk_n(response.statement_id or "", index)
    if not parts:
        raise ValueError("it has no rows")
    return pa.concat_tables(parts)


def _plain(name: str, rows: pa.Table, types: dict[str, str], is_file: bool) -> Source:
    """Return `rows` with plain names and with columns of known types only."""
    notes, renamed, kept = [], {}, {}
    for column, values in zip(rows.column_names, rows.columns, strict=True):
        new = identifier(column) if is_file else column
        if not is_file and (not PLAIN.fullmatch(column) or column in TAKEN):
            notes.append(f"{column} is left out: its name is no plain identifier, or taken. A view may rename it.")
            continue
        if new in kept:
            raise AdoptError(f"Columns of {name} would both be called {new}: rename one of them.")
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_large_string(values.type):
            values = values.cast(pa.string())
        kind = types.get(column) or spark_type(values.type)
        if kind is None or kind.startswith(("array", "map", "struct", "binary", "variant", "interval", "void")):
            notes.append(f"{column} is left out: {kind or values.type} is no type that adopt can use.")
            continue
        if new != column:
            renamed[column] = new
        kept[new] = (values, kind)
    return Source(
        name,
        pa.table({column: values for column, (values, _) in kept.items()}),
        {column: kind for column, (_, kind) in kept.items()},
        is_file,
        renamed,
        notes,
    )


def identifier(name: str) -> str:
    """Return `name` in snake case, as a name that needs no quotes in Python and SQL."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    words = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower()
    if not words or words[0].isdigit() or keyword.iskeyword(words) or words in TAKEN:
        words = f"column_{words}"
    return words


def spark_type(kind: pa.DataType) -> str | None:
    """Return the Spark type of an Arrow type, None if adopt has no use for it."""
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return SPARK_TYPES.get(kind)


def _refuse_twice(name: str, header: list[str]) -> None:
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise AdoptError(f"{name} has two columns called {twice[0]}: rename one of them.")
