"""Runs inside a rendered project (as tests/unit/test_adopting.py): what `python -m local adopt` reads and refuses."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from databricks.sdk import WorkspaceClient

from local.adopt import command, reading, writing
from local.adopt.profile import describe
from local.adopt.reading import AdoptError, Source, identifier, read
from local.adopt.roles import Adopted, Roles, check

ROLES = Roles("order_id", "ordered_at", "returned")
BINARY, CLASSES, NUMBER = "binary-classification", "multiclass-classification", "regression"


def orders(rows: int = 6000) -> pd.DataFrame:
    """Return 60 days of orders that are returned more often if they are expensive."""
    rng = np.random.default_rng(3)
    price = np.round(rng.lognormal(3, 1, rows), 2)
    returned = rng.random(rows) < np.where(price > 30, 0.6, 0.1)
    start = pd.Timestamp("2025-01-01 08:00")
    return pd.DataFrame(
        {
            "order_id": [f"o{number}" for number in range(rows)],
            "ordered_at": [str(start + timedelta(days=60) * share) for share in np.arange(rows) / rows],
            "price": price,
            "pieces": rng.integers(1, 9, rows),
            "shop": rng.choice(["north", "south", None], rows),
            "comment": [f"comment {number}" for number in range(rows)],
            "returned": returned,
        }
    )


def save(folder: Path, frame: pd.DataFrame) -> Source:
    frame.to_parquet(folder / "orders.parquet", index=False)
    return read(str(folder / "orders.parquet"))


def adopted(folder: Path, frame: pd.DataFrame, roles: Roles = ROLES, kind: str = BINARY) -> Adopted:
    return check(save(folder, frame), roles, kind)


def test_columns_get_plain_names() -> None:
    names = ["Order ID", "unitPrice", "Delta 15 N (o/oo)", "class", "2nd", "event_date", "fine"]
    assert [identifier(name) for name in names] == [
        *("order_id", "unit_price", "delta_15_n_o_oo", "column_class", "column_2nd", "column_event_date", "fine"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a;b\n1;2\n", "no columns separated by commas: save it with commas"),
        (b"name,\xe4\n1,2\n", "is not in UTF-8: save it in UTF-8"),
        (b",b\n1,2\n", "Column 1 of table.csv has no name: write one"),
        (b"1,2.5\n1,2\n", "holds values: write the names of the columns above it"),
        (b"a,a\n1,2\n", "two columns called a: rename one"),
        (b"a,A\n1,2\n", "would both be called a: rename one"),
        (b"a,b\n1,2\n1,2,3\n", "is not valid CSV"),
    ],
    ids=["semicolons", "latin", "no-name", "no-header", "twice", "alike", "ragged"],
)
def test_a_file_that_one_would_have_to_guess_about_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(AdoptError, match=problem):
        read(str(tmp_path / "table.csv"))


@pytest.mark.parametrize("name", ["nowhere.csv", "folder/nowhere.parquet", "a.b", "nowhere"])
def test_what_is_neither_file_nor_table_is_refused(name: str) -> None:
    with pytest.raises(AdoptError, match=f"There is no file {name}: type its path, or the name of a table"):
        read(name)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(AdoptError, match="neither CSV nor Parquet: save it as one of them"):
        read(str(tmp_path / "table.xlsx"))
    (tmp_path / "table.parquet").touch()
    with pytest.raises(AdoptError, match="is not a Parquet file"):
        read(str(tmp_path / "table.parquet"))


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # changes of columns, changes of roles, kind of problem, what is said
    "no-such-column": ({}, {"label": "gone"}, BINARY, "has no column gone. It has: order_id, ordered_at"),
    "two-roles": ({}, {"entity": "order_id"}, BINARY, "order_id cannot be two things"),
    "key-twice": ({"order_id": "o1"}, {}, BINARY, "order_id is not unique"),
    "key-empty": ({"order_id": [None, *map(str, range(5999))]}, {}, BINARY, "order_id is empty in 1 rows"),
    "key-double": ({}, {"key": "price"}, BINARY, "price is a double, and a key is text or a whole number"),
    "entity-double": ({}, {"entity": "price"}, BINARY, "price is a double, and an entity is text or a whole number"),
    "entity-few": ({}, {"entity": "shop"}, BINARY, "shop has 2 values, and parts of the data are whole entities"),
    "time-unreadable": ({"ordered_at": "soon"}, {}, BINARY, "holds no times that can be read"),
    "time-ambiguous": ({"ordered_at": "03/04/2025"}, {}, BINARY, "does not tell day from month"),
    "time-number": ({}, {"time": "pieces"}, BINARY, "holds numbers, not times"),
    "time-empty": ({"ordered_at": [None, *["2025-01-01"] * 5999]}, {}, BINARY, "ordered_at is empty in 1 rows"),
    "time-one-day": ({"ordered_at": "2025-01-01"}, {}, BINARY, "same day in ordered_at: type --time none"),
    "time-thin": ({"ordered_at": pd.date_range("2010-01-01", periods=6000)}, {}, BINARY, "type --time none"),
    "label-number": ({}, {"label": "price"}, BINARY, "this project predicts 0 or 1"),
    "label-words": ({"returned": "maybe"}, {}, BINARY, "returned is maybe, and this project predicts 0 or 1"),
    "few-positives": ({"returned": [True] * 49 + [False] * 5951}, {}, BINARY, "is 1 in 49 rows, and a model needs 50"),
    "classes-double": ({}, {"label": "price"}, CLASSES, "price is a double, and this project predicts classes"),
    "classes-two": ({}, {"label": "shop"}, CLASSES, "shop has 2 values, and this project tells three or more apart"),
    "classes-many": ({}, {"label": "comment"}, CLASSES, "comment has 6000 values, and at most 50"),
    "number-text": ({}, {"label": "shop"}, NUMBER, "shop is a string, and this project predicts a number"),
    "number-few": ({}, {"label": "pieces"}, NUMBER, "pieces has 8 values, which are classes rather than numbers"),
    "label-time-early": ({"known": pd.Timestamp("2020-01-01")}, {"label_time": "known"}, BINARY, "known is before"),
    "label-time-empty": ({"known": pd.NaT}, {"label_time": "known"}, BINARY, "known is empty in 6000 rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    columns, roles, kind, problem = REFUSED[name]
    with pytest.raises(AdoptError) as refused:
        describe(adopted(tmp_path, orders().assign(**columns), replace(ROLES, **roles), kind))
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 300


def test_few_rows_and_rare_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdoptError, match="400 rows have a label, and a model needs 500: adopt a larger table"):
        adopted(tmp_path, orders(400))
    rare = orders().assign(shop=[*"abc"] * 1990 + ["d"] * 30)
    with pytest.raises(AdoptError, match="shop is d in 30 rows, and a class needs 50"):
        adopted(tmp_path, rare, replace(ROLES, label="shop"), CLASSES)


@pytest.mark.parametrize(
    "times",
    [
        ["2025-01-31", "2025-02-01"],
        ["31/01/2025", "01/02/2025"],
        ["01/31/2025", "02/01/2025"],
        ["2025-01-31T00:00:00Z", "2025-02-01T01:00:00+01:00"],
        pd.to_datetime(["2025-01-31", "2025-02-01"]).tz_localize("UTC"),
    ],
    ids=["iso", "day-first", "month-first", "zones", "timestamps"],
)
def test_times_are_read(tmp_path: Path, times: Any) -> None:
    found = adopted(tmp_path, orders().assign(ordered_at=list(times) * 3000)).rows["ordered_at"]
    assert found[:2].tolist() == [pd.Timestamp("2025-01-31"), pd.Timestamp("2025-02-01")]


def test_words_for_yes_and_no_become_numbers(tmp_path: Path) -> None:
    frame = orders()
    words = frame.assign(returned=frame["returned"].map({True: "Yes", False: "no"}))
    assert adopted(tmp_path, words).rows["returned"].tolist() == frame["returned"].astype(float).tolist()


def test_a_column_that_says_the_label_is_no_feature(tmp_path: Path) -> None:
    frame = orders()
    telling = frame.assign(refund=np.where(frame["returned"], frame["price"], 0.0), sent_back="2025-05-01")
    telling["sent_back"] = pd.to_datetime(telling["sent_back"])
    telling.loc[0, "sent_back"] = pd.Timestamp("2024-01-01")
    profile = describe(adopted(tmp_path, telling))
    assert profile.features == ["price", "pieces", "hour_of_day", "day_of_week", "shop"]
    assert "almost gives the label away" in profile.left_out["refund"]
    assert "known only later" in profile.left_out["sent_back"]
    assert profile.left_out["comment"] == "has 6000 different texts"


def test_no_value_of_few_rows_and_no_extreme_is_written_down(tmp_path: Path) -> None:
    frame = orders()
    frame.loc[:8, "shop"] = "secret"
    frame.loc[9, "price"] = 1234567.89
    found = adopted(tmp_path, frame)
    profile = describe(found)
    written = writing.source(found, profile) + writing.features(found, profile) + writing.sample(found, profile)
    assert "secret" not in written and "1234567" not in written and "'o1'" not in written
    assert "north" in written


def test_made_up_rows_have_keys_and_types_of_the_table(tmp_path: Path) -> None:
    frame = orders().assign(order_id=range(6000), since=pd.Timestamp("2024-01-01"), odd=np.arange(6000) % 2 == 1)
    frame["since"] += pd.to_timedelta(np.arange(6000) % 50, unit="D")
    found = adopted(tmp_path, frame.assign(since=frame["since"].dt.date))
    profile = describe(found)
    module: dict[str, Any] = {"__name__": "made.sample", "__package__": "made"}
    text = writing.sample(found, profile).replace(
        "from .source import COLUMNS", f"COLUMNS = {writing.columns(found, profile)}"
    )
    exec(text, module)
    start = date(2025, 3, 1)
    rows = module["generate"](start, start + timedelta(days=3), 100, seed=1)
    assert list(rows.columns) == list(writing.columns(found, profile))
    assert rows["order_id"].is_unique and (rows["order_id"] < 0).all() and rows["order_id"].min() > -(2**31)
    assert set(rows["ordered_at"].dt.date) == {start + timedelta(days=number) for number in range(3)}
    assert isinstance(rows["since"][0], date)


class Warehouse(BaseHTTPRequestHandler):
    """A SQL warehouse that knows one table, and hands its rows out in two parts at addresses of their own."""

    table = pa.table({"id": pa.array(range(6), pa.int64()), "odd name": list("abcdef"), "day": ["x"] * 6})
    counted, asked = 6, list[tuple[str, bool]]()
    warehouses = ({"id": "w1"},)

    def answer(self, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def link(self, part: int) -> dict[str, Any]:
        last = {} if part else {"next_chunk_index": 1, "next_chunk_internal_link": "/more"}
        address = f"http://{self.headers['Host']}/storage/{part}"
        return {"external_links": [{"external_link": address, "chunk_index": part, **last}]}

    def do_POST(self) -> None:
        statement = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["statement"]
        self.asked.append((statement, "Authorization" in self.headers))
        if "`missing`" in statement:
            error = {"error_code": "BAD_REQUEST", "message": "TABLE_OR_VIEW_NOT_FOUND"}
            return self.answer({"statement_id": "s", "status": {"state": "FAILED", "error": error}})
        done = {"statement_id": "s", "status": {"state": "SUCCEEDED"}}
        if "count(*)" in statement:
            address = f"http://{self.headers['Host']}/storage/count"
            return self.answer(done | {"result": {"external_links": [{"external_link": address}]}})
        types = [{"name": "id", "type_text": "INT"}, {"name": "odd name", "type_text": "STRING"}]
        manifest = {"schema": {"columns": [*types, {"name": "day", "type_text": "STRING"}]}}
        return self.answer(done | {"manifest": manifest, "result": self.link(0)})

    def do_GET(self) -> None:
        if self.path.startswith("/storage/"):
            self.asked.append((self.path, "Authorization" in self.headers))
            part = self.path.rpartition("/")[2]
            rows = pa.table({"rows": [self.counted]}) if part == "count" else self.table.slice(3 * int(part), 3)
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, rows.schema) as writer:
                writer.write_table(rows)
            return self.answer(stream.getvalue().to_pybytes())
        return self.answer(self.link(1) if "chunks" in self.path else {"warehouses": list(self.warehouses)})

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def warehouse(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Warehouse]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Warehouse) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DATABRICKS_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_TOKEN", "token")
        monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "nowhere")
        Warehouse.asked.clear()
        yield Warehouse
        server.shutdown()


def test_a_table_is_read_by_a_warehouse(warehouse: type[Warehouse]) -> None:
    source = read("main.sa`les.orders")
    assert source.rows.to_pydict() == {"id": [*range(6)], "day": ["x"] * 6}
    assert source.types == {"id": "int", "day": "string"}
    assert source.notes == ["odd name is left out: its name is no plain identifier, or taken. A view may rename it."]
    statements = [asked for asked, _ in warehouse.asked if asked.startswith("SELECT")]
    assert statements == [
        "SELECT count(*) AS rows FROM `main`.`sa``les`.`orders`",
        "SELECT * FROM `main`.`sa``les`.`orders`",
    ]
    sent = {asked: token for asked, token in warehouse.asked}
    assert sent["/storage/0"] is sent["/storage/1"] is False, "storage refuses whoever sends a token"


def test_a_table_that_cannot_be_read_is_refused(warehouse: type[Warehouse], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdoptError, match=r"main.sales.missing cannot be read \(TABLE_OR_VIEW_NOT_FOUND\)"):
        read("main.sales.missing")
    monkeypatch.setattr(warehouse, "counted", 2_000_001)
    with pytest.raises(AdoptError, match="has 2,000,001 rows, and adopt reads at most 2,000,000: adopt a view"):
        read("main.sales.orders")
    monkeypatch.setattr(warehouse, "warehouses", ())
    with pytest.raises(AdoptError, match="You have no SQL warehouse"):
        reading.read_table("main.sales.orders", WorkspaceClient())


def test_a_role_whose_name_is_not_plain_is_refused(warehouse: type[Warehouse]) -> None:
    with pytest.raises(AdoptError, match="odd name is left out: its name is no plain identifier"):
        check(read("main.sales.orders"), Roles("odd name", None, "day"), BINARY)


def test_nobody_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str | None] = {"key": None, "time": "t", "label": "l", "entity": None, "label_time": None}
    with pytest.raises(AdoptError, match="add --force to write without asking"):
        command.adopt(tmp_path, "orders.csv", given, force=False)
    save(tmp_path, orders())
    with pytest.raises(AdoptError, match="--key is not given: type --key COLUMN, one of order_id, ordered_at"):
        command.adopt(tmp_path, str(tmp_path / "orders.parquet"), given, force=True)


def test_a_person_is_asked_again_until_there_is_such_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    master, slave = pty.openpty()
    os.write(master, b"ordered\n\norder id\nordered_at\nreturned\n\n\n")
    given: dict[str, str | None] = dict.fromkeys(["key", "time", "label", "entity", "label_time"])
    with os.fdopen(slave) as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", terminal)
        roles = command._roles(given, save(tmp_path, orders(10)))
    os.close(master)
    assert roles == ROLES
    shown = capsys.readouterr().out
    assert "  price       double " in shown
    assert "There is no column ordered." in shown and "Every table has one: type its name." in shown


def test_an_interrupted_write_leaves_the_files_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("old")
    (tmp_path / "b.py").write_text("old")
    write_text = Path.write_text

    def interrupted(path: Path, *args: Any, **kwargs: Any) -> int:
        if path.name == "c.py":
            raise KeyboardInterrupt
        return write_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command._write(tmp_path, {"a.py": "new", "b.py": "new", "c.py": "new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.py": "old", "b.py": "old"}
