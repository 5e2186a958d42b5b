"""Reads the bundle files as the Databricks CLI does, as far as this project's own files need it."""

import getpass
import re
import subprocess
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

# Lists whose elements are matched by a key when a target overrides them; other lists are joined.
KEYED_LISTS = {"tasks": "task_key", "job_clusters": "job_cluster_key", "parameters": "name", "grants": "principal"}
REFERENCE = re.compile(r"\$\{([\w.-]+)\}")


class BundleError(ValueError):
    """The bundle files use something that the laptop does not know."""


def load_bundle(root: Path, target: str) -> dict[str, Any]:
    """Return the configuration of `target`: files included, target merged in, references resolved.

    Resources carry the `id` that they would have once deployed. On the laptop there is one user, so dev names get no
    prefix.

    Raises:
        BundleError: if a target or a reference does not exist.
    """
    config = _read(root / "databricks.yml")
    for pattern in config.pop("include", []):
        for path in sorted(root.glob(pattern)):
            included = _read(path)
            included.pop("definitions", None)  # only holds YAML anchors
            config = _merge(config, included)
    targets = config.pop("targets")
    if target not in targets:
        raise BundleError(f"No target '{target}'.{nearest(target, targets)} Use one of: {', '.join(targets)}.")
    overrides = dict(targets[target])
    values = {name: {"default": value} for name, value in overrides.pop("variables", {}).items()}
    config = _merge(_merge(config, overrides), {"variables": values})
    config["bundle"] |= {"target": target, "git": {"commit": _git_commit(root)}}
    config["workspace"] = config.get("workspace", {}) | {"current_user": {"userName": getpass.getuser()}}
    config["var"] = {name: variable.get("default") for name, variable in config["variables"].items()}
    for key, job in config["resources"].get("jobs", {}).items():
        job["id"] = key
    for key in ("schemas", "registered_models"):
        for resource in config["resources"].get(key, {}).values():
            parts = [resource.get("catalog_name"), resource.get("schema_name"), resource["name"]]
            resource["id"] = ".".join(part for part in parts if part)
    return _resolve(config, config)


def find_job(bundle: dict[str, Any], key: str, parameters: Iterable[str] = ()) -> dict[str, Any]:
    """Return the job `key` of the bundle.

    Args:
        parameters: names that the job must declare.

    Raises:
        BundleError: if the target has no such job, or the job no such parameter.
    """
    target, jobs = bundle["bundle"]["target"], bundle["resources"]["jobs"]
    if key not in jobs:
        raise BundleError(f"{target} has no job '{key}'.{nearest(key, jobs)} It has: {', '.join(sorted(jobs))}.")
    declared = [parameter["name"] for parameter in jobs[key].get("parameters", [])]
    for name in parameters:
        if name not in declared:
            raise BundleError(
                f"Job '{key}' has no parameter '{name}'.{nearest(name, declared)} "
                f"It has: {', '.join(declared) or 'none'}."
            )
    return jobs[key]


def target_names(root: Path) -> list[str]:
    """Return the targets of the bundle, in their order."""
    return list(_read(root / "databricks.yml")["targets"])


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names what may have been meant by `name`; nothing if it is like none of `known`."""
    close = get_close_matches(name, list(known), 1)
    return f" Did you mean '{close[0]}'?" if close else ""


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _merge(base: Any, over: Any, name: str = "") -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: _merge(base[key], over[key], key) if key in base else over[key] for key in over}
    if isinstance(base, list) and isinstance(over, list):
        key = KEYED_LISTS.get(name)
        if key is None:
            return base + over
        by_key = {element[key]: element for element in base}
        return list(_merge(by_key, {element[key]: element for element in over}).values())
    return over


def _resolve(value: Any, config: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(element, config) for key, element in value.items()}
    if isinstance(value, list):
        return [_resolve(element, config) for element in value]
    if not isinstance(value, str):
        return value
    whole = REFERENCE.fullmatch(value)
    if whole:
        return _resolve(_look_up(whole[1], config), config)
    return REFERENCE.sub(lambda match: str(_resolve(_look_up(match[1], config), config)), value)


def _look_up(reference: str, config: dict[str, Any]) -> Any:
    found: Any = config
    for key in reference.split("."):
        if not isinstance(found, dict) or key not in found:
            raise BundleError(f"${{{reference}}} does not exist: '{key}' is not defined.")
        found = found[key]
    return found


def _git_commit(root: Path) -> str:
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""
