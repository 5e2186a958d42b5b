"""docs/access.md says what the bundle files say."""

from pathlib import Path

from local import access

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "access.md").read_text(encoding="utf-8")
    assert access.table(ROOT) in page, "run `uv run python -m local access`, and read what it changes"


def test_the_table_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    for name in ("docs", "resources"):
        (tmp_path / name).mkdir()
    for path in (ROOT / "databricks.yml", *(ROOT / "resources").glob("*.yml")):
        (tmp_path / path.relative_to(ROOT)).write_bytes(path.read_bytes())
    page = tmp_path / "docs" / "access.md"
    page.write_text(f"# Title\n\n{access.HEAD}\n|---|\n| old |\n\nAfter it.\n", encoding="utf-8")
    for _ in range(2):
        access.update(tmp_path)
        assert page.read_text(encoding="utf-8") == f"# Title\n\n{access.table(ROOT)}\n\nAfter it.\n"
