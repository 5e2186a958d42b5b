"""Runs inside a rendered project (as tests/integration/test_interleavings.py): two operations on one model at once.

Whatever the order of their calls to the registry: both end as one after the other does, or one stops with a message
and has changed nothing. Every order is played, on a registry in memory whose single calls are atomic, as real ones are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import getcurrent, greenlet
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from PACKAGE import models
from PACKAGE.platform import evaluations, registry
from PACKAGE.tasks import activate

MODEL = "prod.risk.model"
Operation = Callable[[], object]


class Registry:
    """Versions 1 to 4 of a model: 2 serves and 1 served before it, 3 and 4 have passed the gate, 3 wants to serve."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self.turn = turn
        self.tags: dict[str, str] = {}
        passed = dict.fromkeys(registry.GATE_RESULT, "x") | {"validation_status": "PASSED", "challenged_at": "today"}
        self.version_tags = {number: dict(passed) for number in ("1", "2", "3", "4")}
        self.aliases = {"champion": "2", "previous": "1", "challenger": "3"}

    def get_registered_model(self, name: str) -> Any:
        self.turn()
        return SimpleNamespace(tags=dict(self.tags), aliases=dict(self.aliases))

    def get_model_version(self, name: str, number: str) -> Any:
        self.turn()
        return SimpleNamespace(name=name, version=number, tags=dict(self.version_tags[number]))

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        self.turn()
        if alias not in self.aliases:
            raise MlflowException(f"no {alias}", RESOURCE_DOES_NOT_EXIST)
        number = self.aliases[alias]
        return SimpleNamespace(name=name, version=number, tags=dict(self.version_tags[number]))

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.turn()
        self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self.turn()
        del self.tags[key]

    def set_model_version_tag(self, name: str, number: str, key: str, value: str) -> None:
        self.turn()
        self.version_tags[number][key] = value

    def delete_model_version_tag(self, name: str, number: str, key: str) -> None:
        self.turn()
        del self.version_tags[number][key]

    def set_registered_model_alias(self, name: str, alias: str, number: str) -> None:
        self.turn()
        self.aliases[alias] = number

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self.turn()
        if alias not in self.aliases:
            raise MlflowException(f"no {alias}", RESOURCE_DOES_NOT_EXIST)
        del self.aliases[alias]


class Schedule:
    """Lets two operations make their calls one at a time, in the order of `choices`, and remembers where it chose."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = choices
        self.chosen: list[int] = []
        self.could_choose: list[bool] = []

    def turn(self) -> None:
        """Wait until it is the turn of the operation that makes this call."""
        if (scheduler := getcurrent().parent) is not None:
            scheduler.switch()

    def play(self, operations: list[Operation]) -> list[str]:
        """Run the operations to their ends, and return what each ended with: nothing, or the message of a refusal."""
        ends = [""] * len(operations)

        def run(number: int) -> None:
            try:
                operations[number]()
            except registry.RegistryError as refusal:
                ends[number] = str(refusal)

        running = [greenlet(run) for _ in operations]
        for number, operation in enumerate(running):
            operation.switch(number)
        while able := [number for number, operation in enumerate(running) if not operation.dead]:
            position = len(self.chosen)
            self.chosen.append(self.choices[position] if position < len(self.choices) else able[0])
            self.could_choose.append(len(able) > 1)
            running[self.chosen[-1]].switch()
        return ends


def every_order(play: Callable[[Schedule], None], most_switches: int = 10**6) -> int:
    """Call `play` once for each order in which two operations can make their calls, and return how many there are.

    Args:
        most_switches: leave out orders in which one has to wait for the other more often. Few are needed to find a
            race (Musuvathi and Qadeer, PLDI 2007).
    """
    choices: list[int] = []
    for count in itertools.count(1):
        schedule = Schedule(choices)
        play(schedule)
        # The next order differs where the first operation could have waited for the second one, as late as possible.
        later = [
            at
            for at, choice in enumerate(schedule.chosen)
            if schedule.could_choose[at] and choice == 0 and switches([*schedule.chosen[:at], 1]) <= most_switches
        ]
        if not later:
            return count
        choices = [*schedule.chosen[: later[-1]], 1]
    raise AssertionError("orders do not end")


def switches(chosen: list[int]) -> int:
    return sum(before != after for before, after in itertools.pairwise(chosen))


@contextmanager
def platform(turn: Callable[[], None]) -> Iterator[Registry]:
    """Let the project's code work on a registry in memory, without tables and without waiting."""
    client = Registry(turn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "connect", lambda: client)
        patch.setattr(registry, "PATIENCE", -1.0)
        patch.setattr(evaluations, "has_passed", lambda *_: True)
        patch.setattr(activate, "tables", SimpleNamespace(spark_session=lambda: SPARK, add_once=lambda *_: None))
        patch.setattr(activate, "card", SimpleNamespace(write=lambda *_: None))  # it moves no alias
        patch.setattr(activate, "F", SimpleNamespace(lit=lambda _: True, col=lambda _: ""))
        yield client


SPARK = SimpleNamespace(createDataFrame=lambda *_: None)
TARGET: Any = SimpleNamespace(name="prod", model=MODEL, connect=lambda: registry.connect(), signed_in=lambda: "ann")


def activation(number: str) -> Operation:
    return lambda: activate.activate("prod.risk", MODEL, number, "prod", "owner", False)


def rollback() -> object:
    return models.roll_back(TARGET, "ann", "complaints")


def challenge() -> object:
    client = registry.connect()
    return registry.challenge(client, registry.get(client, MODEL, "4"))


def one_after_the_other(operations: list[Operation], order: list[int]) -> tuple[Any, ...]:
    """Return the aliases after the operations with these numbers, in this order."""
    with platform(lambda: None) as client:
        for number in order:
            try:
                operations[number]()
            except registry.RegistryError:
                continue
        return dict(client.aliases)


@pytest.mark.parametrize(
    ("operations", "most_switches"),
    [([activation("3"), rollback], 10**6), ([rollback, rollback], 10**6), ([challenge, rollback], 3)],
    ids=["activation and rollback", "two rollbacks", "challenge and rollback"],
)
def test_two_at_once_end_as_one_after_the_other_or_stop(operations: list[Operation], most_switches: int) -> None:
    serial = [one_after_the_other(operations, order) for order in ([0, 1], [1, 0])]
    alone = [one_after_the_other(operations, [number]) for number in (0, 1)]
    nothing = one_after_the_other(operations, [])
    stops = 0

    def play(schedule: Schedule) -> None:
        nonlocal stops
        with platform(schedule.turn) as client:
            ends = schedule.play(operations)
        stopped = [bool(end) for end in ends]
        stops += any(stopped)
        allowed = {(False, False): serial, (True, False): [*serial, alone[1]], (False, True): [*serial, alone[0]]}
        assert client.aliases in allowed.get(tuple(stopped), [nothing]), (client.aliases, ends, schedule.chosen)
        assert client.tags == {}, (client.tags, schedule.chosen)

    orders = every_order(play, most_switches)
    print(f"{orders} orders, in {stops} of them one stops")
    assert orders > 100


def test_two_activations_of_different_versions() -> None:
    """The second is challenger by the time it starts: it takes over, or one of the two says that it was overtaken."""

    def second() -> object:
        challenge()
        return activation("4")()

    operations = [activation("3"), second]
    results = set()

    def play(schedule: Schedule) -> None:
        with platform(schedule.turn) as client:
            ends = schedule.play(operations)
        results.add((tuple(sorted(client.aliases.items())), tuple(bool(end) for end in ends)))
        champion, previous = client.aliases["champion"], client.aliases["previous"]
        won = [number for number, end in zip("34", ends, strict=True) if not end]
        expected = {"": ("2", "1"), "3": ("3", "2"), "4": ("4", "2"), "34": ("4", "3")}["".join(won)]
        assert (champion, previous) == expected, (client.aliases, ends, schedule.chosen)
        assert client.tags == {}

    assert every_order(play, most_switches=3) > 100
    assert len(results) > 1
