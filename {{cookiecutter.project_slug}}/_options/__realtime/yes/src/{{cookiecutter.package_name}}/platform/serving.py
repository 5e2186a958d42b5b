"""The serving endpoint of a model: a release moves its traffic, and whatever fails leaves the old version serving.

The endpoint is made here and by nothing else. A bundle that declared it could not be deployed before there is a model,
and would set it back to an older version at each deployment.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, NotFound, ResourceConflict
from databricks.sdk.service.serving import (
    AiGatewayConfig,
    AiGatewayInferenceTableConfig,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointStateReady,
    EndpointTag,
    Route,
    ServedEntityInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointDetailed,
    ServingEndpointPermissionLevel,
    TrafficConfig,
)
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from . import registry

logger = logging.getLogger(__name__)

LONGEST_NAME = 63
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0  # seconds between two looks at an endpoint that is being updated
PAYLOAD_PREFIX = "requests_"
REMEMBERED_PERIODS = 30  # of 30 characters each: a tag has at most registry.LONGEST_TAG
FAILED = (EndpointStateConfigUpdate.UPDATE_FAILED, EndpointStateConfigUpdate.UPDATE_CANCELED)


class ServingError(RuntimeError):
    """The endpoint does not serve what it should."""


@dataclass(frozen=True)
class Settings:
    """What an endpoint is made of, besides its model."""

    workload_size: str
    scale_to_zero: bool
    callers_group: str  # empty: nobody but the identity that makes the endpoint
    timeout_minutes: float  # how long one update may take
    tags: str = ""  # such as cost-center=ml,owner=fraud


def endpoint_name(model: str) -> str:
    """Return the name of the endpoint of a model, from its three-part name: letters, digits, `-` and `_`, at most 63.

    It follows the registered model's own name, so that environments in one workspace, and people in dev, never collide.
    """
    if re.fullmatch(r"\w+\.\w+\.\w+", model, re.ASCII) and len(model) <= LONGEST_NAME:
        return model.replace(".", "-")
    # Two models must not share an endpoint after their names were cut or their characters replaced.
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]', '-', model)[: LONGEST_NAME - 9]}-{digest}"


def find(workspace: WorkspaceClient, name: str) -> ServingEndpointDetailed | None:
    """Return the endpoint, None if there is none."""
    try:
        return workspace.serving_endpoints.get(name)
    except NotFound:
        return None


def traffic(endpoint: ServingEndpointDetailed) -> dict[str, int]:
    """Return the share of the requests that each version gets, in percent; nothing while none has ever served."""
    config = endpoint.config
    routes = (config.traffic_config.routes if config and config.traffic_config else None) or []
    # Newer answers call a served model an entity, which older SDKs do not know.
    names = [route.served_model_name or getattr(route, "served_entity_name", None) for route in routes]
    shares = {name: route.traffic_percentage for name, route in zip(names, routes, strict=True)}
    entities = (config.served_entities if config else None) or []
    return {str(entity.entity_version): shares.get(entity.name, 0) for entity in entities}


def describe(model: str) -> str:
    """Return what the endpoint of `model` serves, in a few words."""
    try:
        endpoint = find(WorkspaceClient(), endpoint_name(model))
    except DatabricksError as error:  # whoever asks may have no right to see it
        return type(error).__name__
    if endpoint is None:
        return "-"
    shares = ", ".join(f"version {version}: {share} %" for version, share in traffic(endpoint).items())
    return f"{shares or 'nothing'} ({state(endpoint)})"


def state(endpoint: ServingEndpointDetailed) -> str:
    """Return READY or NOT_READY, with the state of an update that is under way or has failed."""
    found = endpoint.state
    ready = found.ready.value if found and found.ready else "NOT_READY"
    update = found.config_update if found else None
    quiet = update in (None, EndpointStateConfigUpdate.NOT_UPDATING)
    return ready if quiet or update is None else f"{ready}, {update.value}"


class Release:
    """Brings one version of a model to its endpoint."""

    def __init__(self, client: MlflowClient, model: str, version: str, schema: str, settings: Settings) -> None:
        self.client, self.model, self.version, self.settings = client, model, version, settings
        self.catalog_name, _, self.schema_name = schema.partition(".")
        self.name = endpoint_name(model)
        self.workspace = WorkspaceClient()
        champion = registry.find(client, model, registry.CHAMPION)
        self.champion = str(champion.version) if champion else None

    def run(self) -> None:
        """Let the endpoint serve the version, and nothing else. Where it does already, nothing changes.

        The version is loaded beside the one that serves, without any traffic, and queried directly. Only if it answers
        as it should does it get the traffic. A run that was cut off anywhere ends in the same state when it is run
        again, because each step begins with what the endpoint serves at that time.

        Raises:
            ServingError: if the version cannot serve. The champion goes on serving; without one nothing is left behind.
        """
        endpoint = self.settled()
        if endpoint is not None and (not traffic(endpoint) or self.is_half_made(endpoint)):
            logger.info("%s was never finished and is made anew", self.name)
            self.workspace.serving_endpoints.delete(self.name)
            endpoint = None
        if endpoint is None:
            self.make()
        elif not (self.champion == self.version and traffic(endpoint) == {self.version: 100}):
            self.replace(endpoint)
        logger.info("%s serves version %s of %s", self.name, self.version, self.model)

    def is_half_made(self, endpoint: ServingEndpointDetailed) -> bool:
        """Tell whether the endpoint comes from a first release that was cut off, and is of no use to this one."""
        return self.champion is None and not (traffic(endpoint) == {self.version: 100} and state(endpoint) == "READY")

    def make(self) -> None:
        """Create the endpoint with the version, and delete it again if that fails."""
        # An inference table cannot be one that exists, so each endpoint that is ever made has a table of its own.
        table = AiGatewayInferenceTableConfig(
            enabled=True,
            catalog_name=self.catalog_name,
            schema_name=self.schema_name,
            table_name_prefix=f"{PAYLOAD_PREFIX}{datetime.now(UTC):%Y%m%dt%H%M%S%f}",
        )
        tags = [EndpointTag(*tag.split("=")) for tag in self.settings.tags.split(",") if tag]
        entities, routes = self.config({self.version: 100})
        config = EndpointCoreConfigInput(name=self.name, served_entities=entities, traffic_config=routes)
        self.workspace.serving_endpoints.create(
            self.name, config=config, ai_gateway=AiGatewayConfig(inference_table_config=table), tags=tags
        )
        try:
            endpoint = self.updated({self.version: 100})
            self.query()
            self.permit(endpoint)
            self.record(endpoint)
        except Exception as error:
            self.workspace.serving_endpoints.delete(self.name)
            raise ServingError(
                f"No endpoint could be made for version {self.version} of {self.model}, nothing is left of it: {error}"
            ) from error

    def replace(self, endpoint: ServingEndpointDetailed) -> None:
        """Move the traffic of the endpoint to the version, and back to the one that should serve if that fails."""
        carrying = max(traffic(endpoint), key=traffic(endpoint).__getitem__)
        stable = carrying if self.champion in (None, self.version) else self.champion
        try:
            if traffic(endpoint) != {self.version: 100}:
                self.shift({stable: 100, self.version: 0} if stable != self.version else {stable: 100})
            self.query()
            self.permit(endpoint)
            self.record(self.shift({self.version: 100}))
        except Exception as error:
            after = f"version {stable} goes on serving"
            try:
                if stable != self.version:
                    self.restore(stable)
                elif self.champion is None:
                    self.workspace.serving_endpoints.delete(self.name)
                    after = "nothing is left of the endpoint"
            except Exception as another:  # both are worth knowing
                after = f"and the traffic could not be moved back to version {stable}: {another}"
            raise ServingError(
                f"{self.name} does not serve version {self.version} of {self.model}, {after}: {error}"
            ) from error

    def restore(self, stable: str) -> None:
        """Let the endpoint serve the version `stable` alone."""
        endpoint = self.settled()
        gone_over = endpoint is not None and traffic(endpoint).get(self.version) == 100
        restored = self.shift({stable: 100})
        if gone_over:
            record(self.client, self.model, stable, restored)

    def shift(self, shares: dict[str, int]) -> ServingEndpointDetailed:
        """Update the endpoint to these shares (percent by version), and return it once they are in force."""
        entities, routes = self.config(shares)
        for _ in self.waits("another update of it does not end"):
            endpoint = self.settled()
            if endpoint is not None and traffic(endpoint) == shares:
                return endpoint
            try:
                self.workspace.serving_endpoints.update_config(
                    self.name, served_entities=entities, traffic_config=routes
                )
            except ResourceConflict:  # somebody else was quicker
                continue
            return self.updated(shares)
        raise AssertionError("waits raises before it ends")

    def config(self, shares: dict[str, int]) -> tuple[list[ServedEntityInput], TrafficConfig]:
        """Return the served entities and the routes for these shares (percent by version)."""
        entities = [
            ServedEntityInput(
                name=f"v{version}",
                entity_name=self.model,
                entity_version=version,
                workload_size=self.settings.workload_size,
                scale_to_zero_enabled=self.settings.scale_to_zero,
            )
            for version in shares
        ]
        routes = [Route(served_model_name=f"v{version}", traffic_percentage=shares[version]) for version in shares]
        return entities, TrafficConfig(routes=routes)

    def settled(self) -> ServingEndpointDetailed | None:
        """Return the endpoint when no update of it is under way, None if there is no endpoint.

        Raises:
            ServingError: if the update does not end in time, or the endpoint serves another model.
        """
        for _ in self.waits("an update of it does not end"):
            endpoint = find(self.workspace, self.name)
            if endpoint is None:
                return None
            if endpoint.state and endpoint.state.config_update == EndpointStateConfigUpdate.IN_PROGRESS:
                continue
            entities = (endpoint.config.served_entities if endpoint.config else None) or []
            if others := {str(entity.entity_name) for entity in entities} - {self.model}:
                raise ServingError(f"{self.name} serves {min(others)}: delete that endpoint, or rename your model.")
            return endpoint
        raise AssertionError("waits raises before it ends")

    def updated(self, shares: dict[str, int]) -> ServingEndpointDetailed:
        """Return the endpoint when it is ready with these shares (percent by version).

        Raises:
            ServingError: if the update failed or does not end in time.
        """
        for _ in self.waits(f"version {self.version} is not ready"):
            endpoint = self.settled()
            if endpoint is None:
                raise ServingError("somebody deleted the endpoint meanwhile")
            update = endpoint.state.config_update if endpoint.state else None
            if traffic(endpoint) != shares or update in FAILED:
                raise ServingError(f"the update failed, {state(endpoint)}: {messages(endpoint)}")
            if endpoint.state and endpoint.state.ready == EndpointStateReady.READY:
                return endpoint
        raise AssertionError("waits raises before it ends")

    def waits(self, what: str) -> Iterator[None]:
        """Yield at once, then after longer and longer pauses.

        Raises:
            ServingError: says `what`, when `timeout_minutes` are over.
        """
        deadline = time.monotonic() + 60 * self.settings.timeout_minutes
        pause = FIRST_PAUSE
        while time.monotonic() < deadline:
            yield
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise ServingError(f"{what} after {self.settings.timeout_minutes:g} minutes")

    def query(self) -> None:
        """Send the model's own input example to the version, past the traffic of the endpoint.

        Raises:
            ServingError: if the response is not one finite prediction per row.
        """
        uri = f"models:/{self.model}/{self.version}"
        example = Model.load(uri).load_input_example(uri)
        if example is None:
            raise ServingError(f"version {self.version} has no input example to query it with")
        request = {"dataframe_split": json.loads(example.to_json(orient="split", index=False))}  # type: ignore[attr-defined]
        path = f"/serving-endpoints/{self.name}/served-models/v{self.version}/invocations"
        response = self.workspace.api_client.do("POST", path, body=request)
        predictions = response.get("predictions") if isinstance(response, dict) else None
        rows = len(request["dataframe_split"]["data"])
        if not predictions or len(predictions) != rows or not np.isfinite(np.asarray(predictions, dtype=float)).all():
            raise ServingError(f"version {self.version} answers its input example of {rows} rows with {predictions}")

    def permit(self, endpoint: ServingEndpointDetailed) -> None:
        """Let the group of callers send requests, if there is one."""
        if not self.settings.callers_group:
            return
        caller = ServingEndpointAccessControlRequest(
            group_name=self.settings.callers_group, permission_level=ServingEndpointPermissionLevel.CAN_QUERY
        )
        self.workspace.serving_endpoints.update_permissions(str(endpoint.id), access_control_list=[caller])

    def record(self, endpoint: ServingEndpointDetailed) -> None:
        record(self.client, self.model, self.version, endpoint)


def messages(endpoint: ServingEndpointDetailed) -> str:
    """Return what the served entities of the endpoint say about themselves."""
    configs = (endpoint.pending_config, endpoint.config)
    entities = [entity for config in configs if config for entity in config.served_entities or []]
    said = [
        f"{entity.name}: {entity.state.deployment_state_message}"
        for entity in entities
        if entity.state and entity.state.deployment_state_message
    ]
    return "; ".join(said) or "see its events on the Serving page"


def record(client: MlflowClient, model: str, version: str, endpoint: ServingEndpointDetailed) -> None:
    """Write on the version that it serves since the last update of the endpoint. Writing it again changes nothing.

    Requests in an inference table do not name the version. `periods` tells it from these times.
    """
    moment = datetime.fromtimestamp((endpoint.last_updated_timestamp or 0) / 1000, UTC)
    since = moment.isoformat(timespec="milliseconds")
    found = registry.get(client, model, version)
    times = found.tags.get("serves_since", "").split()
    if since not in times:
        newest = [*times, since][-REMEMBERED_PERIODS:]
        registry.tag(client, found, serves_since=" ".join(newest))


def periods(client: MlflowClient, model: str) -> list[tuple[datetime, int]]:
    """Return since when (UTC) which version of `model` had the traffic of its endpoint, the oldest first."""
    return sorted(
        (datetime.fromisoformat(since), int(version.version))
        for version in registry.versions(client, model)
        for since in version.tags.get("serves_since", "").split()
    )


def release(model: str, version: str, schema: str, settings: Settings) -> None:
    """Let the endpoint of `model` serve `version`, and nothing else.

    Args:
        schema: two-part name of the schema that gets the inference table.

    Raises:
        ServingError: if it cannot serve. The champion goes on serving; without one nothing is left behind.
    """
    Release(registry.connect(), model, version, schema, settings).run()
