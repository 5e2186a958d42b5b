"""What the commands of the laptop show: colours and progress on a terminal, plain lines of 80 columns elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

# What is shown comes from tasks, tables and registries: none of it is markup.
CONSOLE = Console(width=None if sys.stdout.isatty() else 80, highlight=False, markup=False, emoji=False)
STYLES = {"ok": "green", "FAILED": "bold red"}


def say(text: str, style: str = "", indent: str = "") -> None:
    """Print a text, in lines that begin with `indent` and end where the terminal does."""
    for line in text.splitlines():
        for part in wrap(line, CONSOLE.width - len(indent)) or [""]:
            CONSOLE.print(Text(indent + part, style), soft_wrap=True)


def say_task(name: str, outcome: str, seconds: float, finding: str) -> None:
    """Print how a task ended, and what it found."""
    head = f"    {outcome:2}  {name:14} {seconds:5.1f} s  "
    first, *rest = wrap(finding, max(CONSOLE.width - len(head), 20)) or [""]
    said = Text(f"{head}{first}".rstrip())
    said.stylize(STYLES.get(outcome, "dim"), 0, len("    ") + len(outcome))
    CONSOLE.print(said, soft_wrap=True)
    for line in rest:
        CONSOLE.print(Text(" " * len(head) + line), soft_wrap=True)


@contextmanager
def waiting(name: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that `name` goes on, and for how long; yields a function that adds what it said last."""
    # No character beyond ASCII: a console of Windows may lack others.
    columns = SpinnerColumn("line"), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as progress:
        row = progress.add_task(f"  {name}")

        def add(text: str) -> None:
            progress.update(row, description=f"  {name}  {text}"[: CONSOLE.width - 20])

        yield add
