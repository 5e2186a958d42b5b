"""What the benchmarks share: a command's wall time and memory, a rendered project, and tables."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
SAMPLING_SECONDS = 0.05


@dataclass(frozen=True)
class Measurement:
    """Wall time in seconds, the highest sampled memory in bytes, and what the command printed."""

    seconds: float
    peak_memory: int
    output: str

    @property
    def gigabytes(self) -> str:
        return f"{self.peak_memory / 1e9:.2f}"


def measure(*command: str | Path, cwd: Path) -> Measurement:
    """Run `command` in `cwd` and watch the memory of its process tree.

    Raises:
        SystemExit: if the command fails; its output is printed.
    """
    # uv must take the environment of the project in `cwd`, not the one that runs the benchmarks. Modules are compiled
    # once, as on any machine of a user, and not by each process.
    ours = ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )
    samples = [0]

    def watch() -> None:
        while process.poll() is None:
            samples.append(tree_memory(process.pid))
            time.sleep(SAMPLING_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        sys.exit(f"{output}\n{' '.join(map(str, command))} failed")
    return Measurement(seconds, max(samples), output)


def tree_memory(pid: int) -> int:
    """Return the memory in bytes of a process and its descendants.

    On Linux each shared page is split among the processes that share it (PSS). Elsewhere it counts for each of them
    (RSS), so the sum is an upper bound.
    """
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            try:
                memory = process.memory_full_info() if sys.platform == "linux" else process.memory_info()
                total += getattr(memory, "pss", 0) or memory.rss
            except psutil.Error:  # it ended meanwhile
                continue
    except psutil.Error:
        pass
    return total


def render(output: Path, **answers: str) -> Path:
    """Render the template with its defaults into the folder `output`, and return the project's folder."""
    return Path(cookiecutter(str(ROOT), no_input=True, output_dir=str(output), extra_context=answers))


def print_table(*rows: tuple[object, ...]) -> None:
    """Print rows of cells, the first row being the heading, as a Markdown table."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    texts.insert(1, ["-" * width for width in widths])
    for row in texts:
        print("|", " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), "|", flush=True)
