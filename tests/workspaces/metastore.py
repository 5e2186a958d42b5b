"""An emulated Unity Catalog: registered models that speak MLflow's own messages, and privileges that are enforced.

It is as strict as the real one where a rendered project could come to rest on leniency: nobody may do what was not
granted, search results come in pages and without tags and aliases, a version can be read only once it is finalized, and
a model without a complete signature is refused. It runs inside a rendered project, with the MLflow of that project.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import yaml
from mlflow.protos import databricks_uc_registry_messages_pb2 as messages
from mlflow.protos.databricks_uc_registry_service_pb2 import UcModelRegistryService
from mlflow.utils.proto_json_utils import message_to_json, parse_dict
from mlflow.utils.rest_utils import extract_api_info_for_service

PAGE = 1  # versions in a page of search results, so that a second one is on the next page
# Databricks documentation, "Apply tags to Unity Catalog securable objects".
MOST_TAGS, LONGEST_TAG = 50, 1000
LONGEST_COMMENT = 65_536  # Databricks API reference, "Update a Registered Model"


class ApiError(Exception):
    """An answer other than 200, as Databricks words it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def missing(what: str) -> ApiError:
    return ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"{what} does not exist.")


def denied(why: str) -> ApiError:
    return ApiError(403, "PERMISSION_DENIED", why)


def invalid(why: str) -> ApiError:
    return ApiError(400, "INVALID_PARAMETER_VALUE", why)


@dataclass
class Version:
    """A model version with its files."""

    message: messages.ModelVersion
    tags: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.message.status == messages.READY


@dataclass
class Model:
    """A registered model."""

    owner: str
    description: str
    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    newest: int = 0  # numbers are never given twice


@dataclass
class Metastore:
    """Catalogs, who owns what in them, and who was granted what on it."""

    groups: dict[str, set[str]]  # members by group
    owners: dict[str, str] = field(default_factory=dict)  # of catalogs and schemas
    models: dict[str, Model] = field(default_factory=dict)
    grants: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  # (principal, privilege) by securable
    lock: RLock = field(default_factory=RLock)
    uploads_left: int | None = None  # after that many files the next is refused, as if a machine had died

    # --- privileges

    def grant(self, principal: str, privileges: list[str], securable: str) -> None:
        """Grant `privileges`, such as `USE CATALOG` or `USE_CATALOG`, on a catalog, schema or model."""
        held = self.grants.setdefault(securable, set())
        held.update((principal, privilege.strip().replace(" ", "_")) for privilege in privileges)

    def owner(self, securable: str) -> str | None:
        return self.models[securable].owner if securable in self.models else self.owners.get(securable)

    def holds(self, identity: str, privilege: str, securable: str) -> bool:
        """Tell whether an identity, or a group of it, owns this or was granted the privilege, here or above.

        OWNER itself is not inherited: who owns a schema does not own the models that others made in it.
        """
        principals = {identity} | {group for group, members in self.groups.items() if identity in members}
        parts = securable.split(".")
        above = [".".join(parts[: count + 1]) for count in range(len(parts))]
        if privilege == "OWNER":
            return self.owner(securable) in principals
        return any(
            self.owner(name) in principals
            or any((principal, privilege) in self.grants.get(name, ()) for principal in principals)
            for name in above
        )

    def need(self, identity: str, privileges: tuple[str, ...], model: str) -> None:
        """Refuse who may not enter the catalog and the schema of `model`, or has none of `privileges` on it.

        Raises:
            ApiError: PERMISSION_DENIED, also where there is no such model: who may not see it learns nothing.
        """
        catalog, schema, _ = model.split(".")
        for privilege, kind, name in (
            ("USE_CATALOG", "Catalog", catalog),
            ("USE_SCHEMA", "Schema", f"{catalog}.{schema}"),
        ):
            if not self.holds(identity, privilege, name):
                raise denied(f"{identity} does not have {privilege} on {kind} '{name}'.")
        if not any(self.holds(identity, privilege, model) for privilege in privileges):
            wanted = " or ".join(privileges)
            raise denied(f"{identity} does not have {wanted} on Routine or Model '{model}'.")

    # --- what a deployment does

    def create_schema(self, identity: str, name: str) -> None:
        """Create a schema, unless the identity owns it already."""
        catalog = name.split(".")[0]
        if self.owners.get(name) == identity:
            return
        for privilege in ("USE_CATALOG", "CREATE_SCHEMA"):
            if name in self.owners or not self.holds(identity, privilege, catalog):
                raise denied(f"{identity} does not have {privilege} on Catalog '{catalog}'.")
        self.owners[name] = identity

    def create_model(self, identity: str, name: str, description: str) -> None:
        """Create a registered model, unless the identity owns it already."""
        if self.owner(name) == identity:
            return
        self.need(identity, ("CREATE_MODEL", "CREATE_FUNCTION"), name)
        if name in self.models:
            raise ApiError(409, "RESOURCE_ALREADY_EXISTS", f"Registered model '{name}' already exists.")
        self.models[name] = Model(identity, description)

    def set_grants(self, securable: str, grants: list[dict[str, Any]] | None) -> None:
        """Make `grants`, as a bundle lists them, the only ones of a securable; None: the bundle declares none."""
        if grants is None:
            return
        self.grants.pop(securable, None)
        for grant in grants:
            self.grant(grant["principal"], grant["privileges"], securable)

    # --- the registry

    def model(self, name: str) -> Model:
        if name not in self.models:
            raise missing(f"Registered model '{name}'")
        return self.models[name]

    def version(self, name: str, number: str) -> Version:
        found = self.model(name).versions.get(int(number))
        if found is None:
            raise missing(f"Model version '{name}' version {number}")
        return found

    def show(self, name: str, version: Version) -> messages.ModelVersion:
        """Return the version with its tags and aliases, as every call but a search does."""
        shown = messages.ModelVersion()
        shown.CopyFrom(version.message)
        shown.tags.extend(messages.ModelVersionTag(key=key, value=value) for key, value in version.tags.items())
        aliases = self.model(name).aliases.items()
        shown.aliases.extend(
            messages.RegisteredModelAlias(alias=alias, version=str(number))
            for alias, number in aliases
            if str(number) == version.message.version
        )
        return shown

    def set_tags(self, tags: dict[str, str], new: dict[str, str]) -> None:
        for key, value in new.items():
            if len(value) > LONGEST_TAG:
                raise invalid(f"Tag value of '{key}' has {len(value)} characters, the limit is {LONGEST_TAG}.")
        if len(tags | new) > MOST_TAGS:
            raise invalid(f"A securable has at most {MOST_TAGS} tags.")
        tags.update(new)


class Registry:
    """What one workspace answers to MLflow's client about the models of its metastore."""

    def __init__(self, metastore: Metastore, has_logged_model: Callable[[str], bool]) -> None:
        """
        Args:
            has_logged_model: whether the workspace's own tracking server knows a LoggedModel id.
        """
        self.metastore, self.has_logged_model = metastore, has_logged_model
        self.routes: dict[tuple[str, str], tuple[type, Callable[[str, Any], Any]]] = {}
        for request, (path, method) in extract_api_info_for_service(UcModelRegistryService, "/api/2.0").items():
            answer = getattr(self, _snake_case(request.__name__.removesuffix("Request")), None)
            if answer is not None:
                self.routes[method, path] = request, answer

    def handle(self, identity: str, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one call.

        Raises:
            ApiError: for any answer but 200.
        """
        if (method, path) not in self.routes:
            raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")
        kind, answer = self.routes[method, path]
        request = kind()
        parse_dict(body, request)
        with self.metastore.lock:
            response = answer(identity, request)
        return json.loads(message_to_json(response)) if response is not None else {}

    # Each method below answers the message of its name: create_model_version a CreateModelVersionRequest.

    def create_registered_model(self, identity: str, request: Any) -> Any:
        if request.name in self.metastore.models:
            raise ApiError(409, "RESOURCE_ALREADY_EXISTS", f"Registered model '{request.name}' already exists.")
        self.metastore.create_model(identity, request.name, request.description)
        return messages.CreateRegisteredModelResponse(registered_model=self.registered(request.name))

    def registered(self, name: str) -> messages.RegisteredModel:
        model = self.metastore.model(name)
        aliases = [messages.RegisteredModelAlias(alias=a, version=str(n)) for a, n in model.aliases.items()]
        tags = [messages.RegisteredModelTag(key=key, value=value) for key, value in model.tags.items()]
        return messages.RegisteredModel(name=name, description=model.description, aliases=aliases, tags=tags)

    def get_registered_model(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("EXECUTE",), request.name)
        return messages.GetRegisteredModelResponse(registered_model=self.registered(request.name))

    def create_model_version(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("CREATE_MODEL_VERSION",), request.name)
        model = self.metastore.model(request.name)
        if request.model_id and not self.has_logged_model(request.model_id):
            raise missing(f"Logged model '{request.model_id}'")
        tags: dict[str, str] = {}
        self.metastore.set_tags(tags, {tag.key: tag.value for tag in request.tags})
        model.newest += 1
        number = model.newest
        now = round(1000 * time.time())
        message = messages.ModelVersion(
            name=request.name,
            version=str(number),
            source=request.source,
            run_id=request.run_id,
            description=request.description,
            model_id=request.model_id,
            user_id=identity,
            creation_timestamp=now,
            last_updated_timestamp=now,
            status=messages.PENDING_REGISTRATION,
        )
        model.versions[number] = Version(message, tags)
        return messages.CreateModelVersionResponse(
            model_version=self.metastore.show(request.name, model.versions[number])
        )

    def finalize_model_version(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("CREATE_MODEL_VERSION",), request.name)
        version = self.metastore.version(request.name, request.version)
        signature = yaml.safe_load(version.files.get("MLmodel", b"{}")).get("signature") or {}
        if not signature.get("inputs") or not signature.get("outputs"):
            raise invalid("Models in Unity Catalog must have a signature with inputs and outputs.")
        version.message.status = messages.READY
        return messages.FinalizeModelVersionResponse(model_version=self.metastore.show(request.name, version))

    def get_model_version(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("EXECUTE",), request.name)
        version = self.metastore.version(request.name, request.version)
        return messages.GetModelVersionResponse(model_version=self.metastore.show(request.name, version))

    def update_model_version(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("OWNER",), request.name)
        version = self.metastore.version(request.name, request.version)
        if len(request.description) > LONGEST_COMMENT:
            raise invalid(f"A comment has at most {LONGEST_COMMENT} characters.")
        version.message.description = request.description
        return messages.UpdateModelVersionResponse(model_version=self.metastore.show(request.name, version))

    def delete_model_version(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("OWNER",), request.name)
        self.metastore.version(request.name, request.version)
        model = self.metastore.model(request.name)
        if int(request.version) in model.aliases.values():
            raise invalid(f"Version {request.version} has an alias.")
        del model.versions[int(request.version)]
        return messages.DeleteModelVersionResponse()

    def search_model_versions(self, identity: str, request: Any) -> Any:
        name = request.filter.partition("=")[2].strip(" '\"")
        self.metastore.need(identity, ("EXECUTE",), name)
        found = [version.message for _, version in sorted(self.metastore.model(name).versions.items(), reverse=True)]
        first = int(request.page_token or 0)
        after = str(first + PAGE) if len(found) > first + PAGE else ""
        return messages.SearchModelVersionsResponse(model_versions=found[first : first + PAGE], next_page_token=after)

    def get_model_version_download_uri(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("EXECUTE",), request.name)
        return messages.GetModelVersionDownloadUriResponse(artifact_uri=f"/Models/{request.name}/{request.version}")

    def generate_temporary_model_version_credentials(self, identity: str, request: Any) -> Any:
        writes = request.operation == messages.MODEL_VERSION_OPERATION_READ_WRITE
        self.metastore.need(identity, ("CREATE_MODEL_VERSION",) if writes else ("EXECUTE",), request.name)
        self.metastore.version(request.name, request.version)
        # Files go over presigned addresses, as in a metastore with default storage.
        credentials = messages.TemporaryCredentials(storage_mode=messages.DEFAULT_STORAGE)
        return messages.GenerateTemporaryModelVersionCredentialsResponse(credentials=credentials)

    def set_registered_model_alias(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("OWNER",), request.name)
        self.metastore.version(request.name, request.version)
        self.metastore.model(request.name).aliases[request.alias] = int(request.version)
        return messages.SetRegisteredModelAliasResponse()

    def delete_registered_model_alias(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("OWNER",), request.name)
        self.metastore.model(request.name).aliases.pop(request.alias, None)
        return messages.DeleteRegisteredModelAliasResponse()

    def get_model_version_by_alias(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("EXECUTE",), request.name)
        number = self.metastore.model(request.name).aliases.get(request.alias)
        if number is None:
            raise missing(f"Alias '{request.alias}' of registered model '{request.name}'")
        version = self.metastore.version(request.name, str(number))
        return messages.GetModelVersionByAliasResponse(model_version=self.metastore.show(request.name, version))

    def set_model_version_tag(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("APPLY_TAG",), request.name)
        self.metastore.set_tags(
            self.metastore.version(request.name, request.version).tags, {request.key: request.value}
        )
        return messages.SetModelVersionTagResponse()

    def delete_model_version_tag(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("APPLY_TAG",), request.name)
        self.metastore.version(request.name, request.version).tags.pop(request.key, None)
        return messages.DeleteModelVersionTagResponse()

    def set_registered_model_tag(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("APPLY_TAG",), request.name)
        self.metastore.set_tags(self.metastore.model(request.name).tags, {request.key: request.value})
        return messages.SetRegisteredModelTagResponse()

    def delete_registered_model_tag(self, identity: str, request: Any) -> Any:
        self.metastore.need(identity, ("APPLY_TAG",), request.name)
        tags = self.metastore.model(request.name).tags
        if request.key not in tags:
            raise missing(f"Tag '{request.key}' of registered model '{request.name}'")
        del tags[request.key]
        return messages.DeleteRegisteredModelTagResponse()

    def is_databricks_sdk_models_artifact_repository_enabled(self, identity: str, request: Any) -> Any:
        return messages.IsDatabricksSdkModelsArtifactRepositoryEnabledResponse()

    # --- files of a version, below /Models/<catalog>/<schema>/<model>/<version>

    def located(self, identity: str, path: str, writes: bool) -> tuple[Version, str]:
        """Return the version that a path lies in, and the rest of the path."""
        catalog, schema, model, number, *rest = path.strip("/").split("/")[1:]
        name = f"{catalog}.{schema}.{model}"
        self.metastore.need(identity, ("CREATE_MODEL_VERSION",) if writes else ("EXECUTE",), name)
        version = self.metastore.version(name, number)
        if version.ready == writes:
            raise denied(f"Version {number} of {name} is {'' if version.ready else 'not '}finalized.")
        return version, "/".join(rest)

    def list_files(self, identity: str, path: str) -> dict[str, Any]:
        version, below = self.located(identity, path, writes=False)
        prefix = f"{below}/" if below else ""
        names = {name[len(prefix) :].split("/")[0] for name in version.files if name.startswith(prefix)}
        if not names:
            raise ApiError(404, "NOT_FOUND", f"No directory {path}.")
        entries = [
            {"path": f"/{path.strip('/')}/{name}", "is_directory": prefix + name not in version.files}
            | ({"file_size": len(version.files[prefix + name])} if prefix + name in version.files else {})
            for name in sorted(names)
        ]
        return {"contents": entries}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
