import json
import re
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, PERMISSION_DENIED

from {{ cookiecutter.package_name }}.platform import card, registry
from {{ cookiecutter.package_name }}.platform.evaluate import MAIN_METRIC

FEATURES = ["size", "shop"]
TRAINED = {"environment": "dev", "git_commit": "abc123", "training_table": "a.b.source", "training_rows": "600"}
TESTED = {
    "validation_status": "PASSED",
    "validated_at": "2026-03-02T08:00:00+00:00",
    "validation_run": "run1",
    "validation_objections": "none",
    "holdout_rows": "1500",
    "validation_results": json.dumps(
        {"metrics": {MAIN_METRIC: 0.75, "rows": 1500.0}, "champion": {MAIN_METRIC: 0.5}, "champion_version": "3"}
    ),
    registry.COMPARISON: json.dumps({"margins": {MAIN_METRIC: [0.02, 0.01]}, "weakest": "", "page_sha256": "0"}),
}
APPROVED = {"approved_by": "ann", "approved_at": "2026-03-02T09:00:00+00:00", "approval_reason": "reviewed"}
BASELINE: dict[str, Any] = {name: {"edges": [1.0, 9.0], "shares": [0.1, 0.8, 0.05, 0.05]} for name in FEATURES}


@pytest.fixture(autouse=True)
def features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "FEATURES", FEATURES)


def version(**tags: str) -> ModelVersion:
    found = ModelVersion("a.b.model", "4", 0)
    found._tags = dict(tags)
    return found


def test_it_tells_what_is_known() -> None:
    text = card.card(version(**TRAINED, **TESTED, **APPROVED), BASELINE)
    for told in (
        "`a.b.model`, version 4",
        "- from commit: `abc123`",
        "The gate of this environment says `PASSED`",
        "0.75 ± 0.02, champion 3: 0.5",
        "`comparison.html` in the run `run1`",
        "By `ann`",
        "Reason: `reviewed`",
        f"| `{FEATURES[0]}` | 8 of 10 between 1 and 9 | 5.0% |",
    ):
        assert told in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_it_does_not_tell_what_is_not_known() -> None:
    text = card.card(version(**TRAINED), BASELINE)
    assert "has not decided yet" in text and "None is recorded yet" in text
    pending = card.card(version(**TRAINED, **TESTED | {"validation_status": "PENDING"}), BASELINE)
    assert "has not decided yet" in pending and "PASSED" not in pending
    received = card.card(version(**TRAINED, source_model="x.y.z", source_version="7"), BASELINE)
    assert "Received from `x.y.z`, version `7`. What follows is what that environment says" in received


def test_a_refusal_is_told() -> None:
    failed = TESTED | {"validation_status": "FAILED", "validation_objections": "too bad"}
    assert "Objections: `too bad`" in card.card(version(**TRAINED, **failed), BASELINE)


HOSTILE = "`|](http://x) <script>\n# Approved\x1b[2J"


@pytest.mark.parametrize(
    "baseline",
    [
        None,
        "text",
        dict.fromkeys(FEATURES, HOSTILE),
        {name: {"shares": []} for name in FEATURES},
        {name: {"edges": [10**400], "shares": [0]} for name in FEATURES},
        {name: {"values": {"a": 1}, "shares": [0]} for name in FEATURES},
    ],
    ids=["nothing", "text", "hostile", "empty", "endless", "mapping"],
)
def test_files_of_a_source_may_hold_anything(baseline: Any) -> None:
    assert card.card(version(), baseline).count("| not known | not known |") == len(FEATURES)


def test_texts_of_others_do_nothing() -> None:
    values = {name: {"values": [HOSTILE], "shares": [1.0, 0.0]} for name in FEATURES}
    tags = dict.fromkeys([*card.ORIGIN, "source_model", "source_version", *APPROVED], HOSTILE)
    text = card.card(version(**tags), values)
    assert text.count("'/](http://x) <script>?# Approved?[2J") > 10
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())
    assert "\n# Approved" not in text and "\x1b" not in text


def test_it_fits_into_the_registry() -> None:
    tags = dict.fromkeys([*card.ORIGIN, "source_model", *APPROVED], "x" * 1000)
    text = card.card(version(**tags), {name: {"values": ["y" * 500] * 9, "shares": [1.0]} for name in FEATURES})
    assert len(text) <= card.LONGEST
    assert text.endswith("\n…")


@pytest.mark.parametrize("code", [PERMISSION_DENIED, INTERNAL_ERROR])
def test_who_may_only_tag_is_not_stopped(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    class Client:
        def update_model_version(self, name: str, number: str, description: str) -> None:
            raise MlflowException("does not have OWNER", error_code=code)

    monkeypatch.setattr(card.registry, "get", lambda client, model, number: version())
    monkeypatch.setattr(card.Model, "load", lambda uri: card.Model())
    if code == PERMISSION_DENIED:
        card.write(Client(), "a.b.model", "4")  # type: ignore[arg-type]
        return
    with pytest.raises(MlflowException):
        card.write(Client(), "a.b.model", "4")  # type: ignore[arg-type]
