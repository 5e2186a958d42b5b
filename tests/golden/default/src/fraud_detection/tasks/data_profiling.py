"""Task `data_profiling`: Databricks' own Data profiling of the predictions, beside the project's monitoring."""

import logging

from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound, ResourceConflict
from databricks.sdk.service.dataquality import (
    AggregationGranularity,
    DataProfilingConfig,
    Monitor,
    Refresh,
    TimeSeriesConfig,
)

from ..platform.parameters import run

logger = logging.getLogger(__name__)


def data_profiling(schema: str) -> None:
    """Create the monitor of `<schema>.predictions`, or refresh it where it exists: running it again does no harm.

    A bundle cannot declare it, because the table must exist first. Its metrics are tables in `<schema>`.

    Raises:
        databricks.sdk.errors.NotFound: if nothing was scored yet.
        databricks.sdk.errors.PermissionDenied: if the identity of the job does not own the table.
    """
    workspace = WorkspaceClient()
    table = workspace.tables.get(f"{schema}.predictions").table_id or ""
    try:
        workspace.data_quality.get_monitor("table", table)
    except NotFound:
        profile = DataProfilingConfig(
            output_schema_id=workspace.schemas.get(schema).schema_id or "",
            time_series=TimeSeriesConfig("event_date", [AggregationGranularity.AGGREGATION_GRANULARITY_1_DAY]),
            skip_builtin_dashboard=True,  # it would lie in the folder of the job's identity, where nobody looks
        )
        workspace.data_quality.create_monitor(Monitor("table", table, data_profiling_config=profile))
        logger.info("Data profiling of %s.predictions begins", schema)
        return
    try:
        workspace.data_quality.create_refresh("table", table, Refresh("table", table))
    except ResourceConflict:
        logger.info("a refresh is under way already")


def main() -> None:
    run(data_profiling)
