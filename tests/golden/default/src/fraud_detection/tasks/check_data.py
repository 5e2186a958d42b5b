"""Task `check_data`: stops the run if the source table breaks its rules."""

import logging
from datetime import date, timedelta

from ..platform import data, tables
from ..platform.parameters import run
from ..problem import source

logger = logging.getLogger(__name__)


def check_data(source_table: str, run_date: date, days: int) -> None:
    """Check the `days` days before `run_date` of `source_table`.

    Raises:
        DataCheckError: names the table, and each column with the rule that it breaks.
    """
    rows = tables.read(tables.spark_session(), source_table)
    # A table without its columns cannot be cut to the period; broken_rules names what is missing.
    if set(source.COLUMNS) <= set(rows.columns):
        rows = rows.where(data.happened(run_date - timedelta(days=days), run_date))
    problems = data.broken_rules(rows)
    if problems:
        raise data.DataCheckError("\n  - ".join([f"{source_table} is not fit for use:", *problems]))
    logger.info("%s rows keep all %d rules", f"{rows.count():,}", len(data.rules()))


def main() -> None:
    run(check_data)
