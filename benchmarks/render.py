"""How long rendering takes, compared with an empty template in the same run."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cookiecutter.main import cookiecutter
from measure import ROOT, print_table

sys.path.insert(0, str(ROOT / "tests"))  # what the tests render with is what is measured
import product


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what this process and its children print: the hooks of a template write to the file descriptor."""
    sys.stdout.flush()
    terminal = os.dup(1)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(terminal, 1)
        os.close(terminal)


def in_process(template: Path, output: Path) -> None:
    cookiecutter(str(template), no_input=True, output_dir=str(output))


def as_command(template: Path, output: Path) -> None:
    command = [sys.executable, "-m", "cookiecutter", str(template), "--no-input", "--output-dir", str(output)]
    subprocess.run(command, check=True)


def empty_template(folder: Path) -> Path:
    """Write a template that renders one empty folder."""
    (folder / "{{cookiecutter.project_slug}}").mkdir(parents=True)
    (folder / "cookiecutter.json").write_text(json.dumps({"project_slug": "empty"}), encoding="utf-8")
    return folder


def medians(render: Callable[[Path, Path], None], templates: list[Path], times: int, scratch: Path) -> list[float]:
    """Return the median seconds of rendering each template, taking turns so that both see the same machine."""
    seconds: list[list[float]] = [[] for _ in templates]
    for number in range(times + 1):
        for index, template in enumerate(templates):
            output = Path(tempfile.mkdtemp(dir=scratch))
            start = time.perf_counter()
            render(template, output)
            if number:  # the first round warms up
                seconds[index].append(time.perf_counter() - start)
    return [statistics.median(values) for values in seconds]


def render_and_drop(number: int) -> None:
    """Render one project of the product, and delete it again."""
    with tempfile.TemporaryDirectory() as folder:
        product.render(product.answers(product.combinations()[number]), Path(folder))


def whole_product() -> tuple[int, float]:
    """Render every combination of answers as the tests do, and return how many there are and the seconds it took."""
    start = time.perf_counter()
    numbers = range(len(product.combinations()))
    with ProcessPoolExecutor(initializer=product.compile_once, mp_context=get_context("spawn")) as pool:
        list(pool.map(render_and_drop, numbers, chunksize=24))
    return len(numbers), time.perf_counter() - start


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    times = parser.parse_args().times
    rows: list[tuple[object, ...]] = [("rendering", "this template, s", "empty template, s", "ratio", "renders/s")]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        templates = [ROOT, empty_template(scratch / "template")]
        for name, render in (("in process", in_process), ("cookiecutter command", as_command)):
            with quiet():
                full, empty = medians(render, templates, times, scratch)
            rows.append((name, f"{full:.3f}", f"{empty:.3f}", f"{full / empty:.2f}", f"{1 / full:.1f}"))
    print_table(*rows)
    number, seconds = whole_product()
    print_table(
        ("the whole product", "projects", "s", "renders/s", "renders/s of the command above"),
        (f"{os.cpu_count()} processes", number, f"{seconds:.0f}", f"{number / seconds:.1f}", rows[-1][-1]),
    )


if __name__ == "__main__":
    main()
