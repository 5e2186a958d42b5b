"""What a job installs: decided by the release, and nothing that the platform brings and breaks without.

The versions of the platform are those of its release notes, as github.com/databricks/environments repeats them below
`python/serverless/serverless-v5` and `python/dbr/18.x-cpu-ml-scala2.13`, read in November 2026.
"""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest
from conftest import Bake
from helpers import CHOICES, bundle_files, clean_environment, lock, run

pytestmark = pytest.mark.slow

# Packages that Spark's client of the platform works with or that other packages there allow no other version of.
PROTECTED = {
    "cachetools": "5.5.1",
    "cryptography": "44.0.1",
    "numpy": "2.1.3",
    "packaging": "24.2",
    "pandas": "2.2.3",
    "protobuf": "5.29.4",
    "pyarrow": "21.0.0",
    "python-dateutil": "2.9.0.post0",
}
# Packages of the platform that are particular about the versions of others.
NEIGHBOURS = {
    "serverless environment 5": {
        "azure-identity": "1.20.0",
        "boto3": "1.40.45",
        "databricks-connect": "18.0.*",
        "google-cloud-storage": "3.7.0",
        "googleapis-common-protos": "1.65.0",
        "grpcio-status": "1.67.0",
        "langchain-core": "1.2.6",
        "msal": "1.34.0",
        "pyiceberg": "0.10.0",
    },
    "ML runtime 18 LTS": {
        "azure-identity": "1.20.0",
        "boto3": "1.40.45",
        "google-cloud-storage": "3.2.0",
        "googleapis-common-protos": "1.65.0",
        "grpcio-status": "1.67.0",
        "langchain-core": "1.0.4",
        "msal": "1.34.0",
        "numba": "0.61.0",
        "pyiceberg": "0.10.0",
        "pyopenssl": "25.0.0",
        "tensorflow": "2.20.0",
    },
}
COMPUTE = {"serverless environment 5": "serverless", "ML runtime 18 LTS": "classic"}
# Before it, copies between workspaces (3.12), logins with OIDC (3.13) and UDFs on the newest runtimes (3.15) failed.
MINIMUM_MLFLOW = "3.15"
PLATFORM = ("--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:")


def build(project: Path, folder: Path, **variables: str) -> Path:
    """Build the wheel as the bundle does, into `folder`."""
    bundle = bundle_files(project)["databricks.yml"]
    assert bundle["artifacts"]["package"]["build"] == "${var.build}"
    command = bundle["variables"]["build"]["default"].split()
    result = run(*command, "--out-dir", folder, cwd=project, **variables)
    assert result.returncode == 0, result.stdout
    (wheel,) = folder.glob("*.whl")
    return wheel


def needs(wheel: Path) -> list[str]:
    """Return what the wheel itself says that it needs."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return re.findall(r"^Requires-Dist: (.*)$", archive.read(metadata).decode(), re.MULTILINE)


def resolve(folder: Path, *requirements: str, **variables: str) -> dict[str, str]:
    """Return the versions by package that the platform would install, the newest that `requirements` allow.

    `folder` holds no project, so nothing but these requirements counts.
    """
    wanted = folder / "wanted.txt"
    wanted.write_text("\n".join(requirements), encoding="utf-8")
    command = ("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", *PLATFORM, wanted.name)
    result = run(*command, cwd=folder, **variables)
    assert result.returncode == 0, result.stdout
    return dict(re.findall(r"^([\w.-]+)==(\S+)", result.stdout, re.MULTILINE))


@pytest.mark.parametrize("mlflow", ["lowest", "newest"])
@pytest.mark.parametrize("platform", NEIGHBOURS)
def test_a_job_leaves_the_packages_of_the_platform_alone(
    platform: str, mlflow: str, bake_anew: Bake, tmp_path: Path
) -> None:
    project = bake_anew(compute=COMPUTE[platform])
    lock(project, *([f"--upgrade-package=mlflow=={MINIMUM_MLFLOW}"] if mlflow == "lowest" else []))
    wheel = build(project, tmp_path)
    installed = resolve(tmp_path, str(wheel))
    assert (installed["mlflow"] == f"{MINIMUM_MLFLOW}.0") == (mlflow == "lowest")
    moved = {name: installed[name] for name in PROTECTED if installed.get(name, PROTECTED[name]) != PROTECTED[name]}
    assert not moved

    # What the job installs also fits what is there already.
    there = NEIGHBOURS[platform]
    beside = resolve(tmp_path, str(wheel), *(f"{name}=={version}" for name, version in (there | PROTECTED).items()))
    assert beside.items() >= installed.items()


def test_the_lowest_mlflow_is_the_first_that_works_on_the_platform(bake: Bake) -> None:
    (lowest,) = re.findall(r'"mlflow>=([\d.]+),<4"', (bake() / "pyproject.toml").read_text(encoding="utf-8"))
    assert lowest == MINIMUM_MLFLOW


def test_a_release_installs_the_same_packages_months_later(bake_anew: Bake, tmp_path: Path) -> None:
    """`exclude-newer` is uv's way to be at an earlier day: it hides what was published after it."""
    released, later = "2026-09-01", "2026-11-01"
    project = bake_anew()
    lock(project, UV_EXCLUDE_NEWER=released)
    wheel = build(project, tmp_path, UV_EXCLUDE_NEWER=released)
    then, now = (resolve(tmp_path, str(wheel), UV_EXCLUDE_NEWER=day) for day in (released, later))
    assert now == then and len(then) > 50

    # The dependencies of the project alone would not have held.
    dependencies = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    then, now = (resolve(tmp_path, *dependencies, UV_EXCLUDE_NEWER=day) for day in (released, later))
    assert now != then


class Index(BaseHTTPRequestHandler):
    """A package index with one package: a version of a month ago, and one of yesterday."""

    def do_GET(self) -> None:
        ages = {"1.0": timedelta(days=30), "1.1": timedelta(days=1)}
        if self.path.endswith(".whl"):
            version, content = self.path.split("-")[1], BytesIO()
            with zipfile.ZipFile(content, "w") as wheel:
                for name, text in (
                    ("METADATA", f"Metadata-Version: 2.1\nName: trap\nVersion: {version}\n"),
                    ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
                    ("RECORD", ""),
                ):
                    wheel.writestr(f"trap-{version}.dist-info/{name}", text)
            answer, kind = content.getvalue(), "application/octet-stream"
        else:
            files = [
                {
                    "filename": f"trap-{version}-py3-none-any.whl",
                    "url": f"/trap-{version}-py3-none-any.whl",
                    "hashes": {},
                    "upload-time": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
                for version, age in ages.items()
            ]
            page = {"meta": {"api-version": "1.1"}, "name": "trap", "versions": list(ages), "files": files}
            answer, kind = json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_version_of_yesterday_is_not_locked(bake: Bake, tmp_path: Path) -> None:
    """Versions that are made to do harm are mostly found within days."""
    project = '[project]\nname = "x"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["trap"]\n'
    (waits,) = re.findall("^exclude-newer = .*$", (bake() / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as index:
        Thread(target=index.serve_forever, daemon=True).start()
        for setting, locked in ((waits, "1.0"), ("", "1.1")):
            (tmp_path / "pyproject.toml").write_text(f"{project}[tool.uv]\n{setting}\n", encoding="utf-8")
            address = f"http://127.0.0.1:{index.server_port}/simple"
            result = run("uv", "lock", "--upgrade", "--no-cache", cwd=tmp_path, UV_DEFAULT_INDEX=address)
            assert result.returncode == 0, result.stdout
            assert f'name = "trap"\nversion = "{locked}"' in (tmp_path / "uv.lock").read_text(encoding="utf-8")
        index.shutdown()


def test_the_wheel_needs_what_the_lock_file_names(bake_anew: Bake, tmp_path: Path) -> None:
    project = bake_anew()
    lock(project)
    pyproject, locked = (
        tomllib.loads((project / name).read_text(encoding="utf-8")) for name in ("pyproject.toml", "uv.lock")
    )
    needed = [need.partition(" ;")[0] for need in needs(build(project, tmp_path))]
    pinned = {need for need in needed if "==" in need}
    assert len(needed) - len(pinned) == len(pyproject["project"]["dependencies"])
    assert pinned <= {f"{package['name']}=={package['version']}" for package in locked["package"]}
    # Jobs get neither the packages of people and CI nor the address of a registry.
    names = {need.partition("==")[0] for need in pinned}
    assert {"mlflow", "protobuf"} <= names
    assert not names & {re.split("[<>=]", package)[0] for package in pyproject["dependency-groups"]["dev"]}
    assert not [need for need in needed if "://" in need]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param("missing", "Unable to find lockfile at `uv.lock`", id="missing"),
        pytest.param("older", "needs to be updated", id="older"),
    ],
)
def test_no_wheel_is_built_of_another_state_than_the_locked_one(
    state: str, message: str, bake_anew: Bake, tmp_path: Path
) -> None:
    project = bake_anew()
    if state == "older":
        lock(project)
        pyproject = project / "pyproject.toml"
        text = pyproject.read_text(encoding="utf-8")
        pyproject.write_text(text.replace('"pyyaml>=6"', '"pyyaml>=6.0.1"'), encoding="utf-8")
    result = run("uv", "build", "--wheel", "--out-dir", tmp_path, cwd=project)
    assert result.returncode != 0 and message in result.stdout and "uv lock" in result.stdout, result.stdout
    assert not list(tmp_path.glob("*.whl"))


def test_what_builds_the_wheel_is_pinned_by_hash(bake_anew: Bake, tmp_path: Path) -> None:
    """It also builds what a release runs beside its token, so a registry that delivers something else is refused."""
    project = bake_anew()
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    pinned = re.findall(r'requirement = "([\w-]+)==.*", hashes = \["sha256:([0-9a-f]{64})"\]', text)
    replaced = dict(pinned)["hatchling"]
    attacks = {
        "another hatchling": (text.replace(replaced, "0" * 64), f"Expected: sha256:{'0' * 64}"),
        "a package more": (text.replace('["hatchling"]', '["hatchling", "wheel"]'), "for: `wheel`"),
    }
    for attack, (attacked, message) in attacks.items():
        pyproject.write_text(attacked, encoding="utf-8")
        lock(project)
        for command in (("uv", "build", "--wheel", "--out-dir", tmp_path), ("uv", "sync", "--no-default-groups")):
            result = run(*command, cwd=project)
            assert result.returncode != 0, (attack, command, result.stdout)
            # uv breaks lines where the terminal ends, so by the length of a path.
            assert message in " ".join(result.stdout.replace("│", " ").split()), result.stdout
    assert not list(tmp_path.glob("*.whl"))

    pyproject.write_text(text, encoding="utf-8")
    lock(project)
    build(project, tmp_path)
    # What a release installs to call `models` is what the jobs get, and the project itself.
    assert run("uv", "sync", "--locked", "--no-default-groups", cwd=project).returncode == 0
    # Of this environment, whatever UV_SYSTEM_PYTHON says on the machine.
    listed = run("uv", "pip", "list", "--python", ".venv", "--format", "json", cwd=project)
    installed = {package["name"] for package in json.loads(listed.stdout)}
    locked = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))["package"]
    needs = {package["name"]: [each["name"] for each in package.get("dependencies", [])] for package in locked}
    reached = {"fraud-detection"}
    while more := {name for package in reached for name in needs[package]} - reached:
        reached |= more
    assert "mlflow" in installed
    assert installed <= reached


def test_the_wheel_is_the_same_where_pip_builds_it(bake_anew: Bake, tmp_path: Path) -> None:
    """The notebook installs the package with `%pip`, where no uv is around but the package of that name."""
    project = bake_anew(compute="classic")
    lock(project)
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "pip", project)
    environment = clean_environment()
    environment.pop("UV", None)
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (wheel,) = (tmp_path / "pip").glob("*.whl")
    assert needs(wheel) == needs(build(project, tmp_path / "uv"))


READ_FROM_STORAGE = """
import sys
from mlflow.protos.databricks_uc_registry_messages_pb2 import TemporaryCredentials
from mlflow.store.artifact.optimized_s3_artifact_repo import OptimizedS3ArtifactRepository
from mlflow.utils._unity_catalog_utils import get_artifact_repo_from_storage_info

OptimizedS3ArtifactRepository._get_region_name = lambda self: "eu-west-1"  # would ask S3
cloud, address = sys.argv[1:]
token = TemporaryCredentials()
if cloud == "azure":
    token.azure_user_delegation_sas.sas_token = "sas"
elif cloud == "aws":
    token.aws_temp_credentials.access_key_id = "key"
else:
    token.gcp_oauth_token.oauth_token = "token"
print(type(get_artifact_repo_from_storage_info(address, token, lambda: token)).__name__)
"""
STORAGE = {
    "azure": ("abfss://models@account.dfs.core.windows.net/model", "AzureDataLakeArtifactRepository"),
    "aws": ("s3://models/model", "OptimizedS3ArtifactRepository"),
    "gcp": ("gs://models/model", "GCSArtifactRepository"),
}


@pytest.mark.parametrize("cloud", CHOICES["cloud"])
def test_people_and_ci_can_download_models_from_unity_catalog(cloud: str, bake_anew: Bake) -> None:
    """`models rollback` and `promote --export` read the files of a version, with credentials of the catalog."""
    address, repository = STORAGE[cloud]
    project = bake_anew(cloud=cloud)
    lock(project)
    result = run("uv", "run", "python", "-c", READ_FROM_STORAGE, cloud, address, cwd=project)
    assert result.returncode == 0 and repository in result.stdout, result.stdout[-2000:]
