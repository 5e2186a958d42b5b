"""Fixtures that render projects with pytest-cookies, and how tests are spread over processes."""

import os
import re
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from helpers import PATTERNS, ROOT, SHARED
from product import compile_once, render
from pytest_cookies.plugin import Cookies
from real_cli import TokenOfTheJob
from xdist.scheduler import LoadScopeScheduling

Bake = Callable[..., Path]


class Scheduling(LoadScopeScheduling):
    """Gives tests that share an expensive fixture to one process, and any other test to any process.

    The marker `xdist_group` says the same, but xdist 3.8 does not see it under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        shared = (
            rf"test_project\.py::.*\[({'|'.join(PATTERNS)})\b",
            r"(test_product\.py::test_every)",
            r"\[(pattern:[^\]]+-ci:[^\]]+-cloud:\w+)\]",  # rendered once
        )
        found = (re.search(pattern, nodeid) for pattern in shared)
        return next((match[1] for match in found if match), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


# The files whose tests take longest come first, so that no process is left alone with one of them at the end.
LONGEST = (
    *("test_project", "test_apache_spark", "test_workspaces", "test_problems", "test_adopt"),
    *("test_product", "test_inference", "test_faults", "test_distributed"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    config.option.template = str(ROOT)  # wherever pytest was started
    compile_once()


@pytest.fixture(scope="session", autouse=True)
def shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tell the helpers which folder the processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    SHARED["folder"] = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    # One for all projects of this process: mypy takes 16 s of processor time without what it knows of packages.
    os.environ["MYPY_CACHE_DIR"] = str(own / "mypy")


@pytest.fixture(scope="session")
def bake_anew(cookies_session: Cookies) -> Bake:
    """Return a function that renders a project of the test's own, and returns its folder."""

    def bake(**answers: str) -> Path:
        result = cookies_session.bake(extra_context=answers)
        if result.exception is not None:
            raise result.exception
        return result.project_path

    return bake


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Return a function that renders a project for all tests of this process: they only read it.

    It is rendered in process, which is faster. test_product.py sees to it that the command renders the same.
    """
    rendered: dict[tuple[tuple[str, str], ...], Path] = {}

    def bake_once(**answers: str) -> Path:
        key = tuple(sorted(answers.items()))
        if key not in rendered:
            rendered[key] = render(answers, tmp_path_factory.mktemp("rendered"))
        return rendered[key]

    return bake_once


@pytest.fixture
def tokens() -> Iterator[str]:
    """The address where the jobs of a pipeline ask for their tokens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), TokenOfTheJob) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
