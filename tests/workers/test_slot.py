"""A slot: one thing at a time, at most one behind it, and nothing is forgotten when its worker is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from workers.slot import GATHER_SECONDS, Slot, Task, leisure


def slot() -> tuple[Slot, list[Any]]:
    begun: list[Any] = []

    def remote(item: Any) -> str:
        begun.append(item)
        return f"result of {item}"

    return Slot(actor=SimpleNamespace(run=SimpleNamespace(remote=remote))), begun


def test_what_is_behind_runs_when_the_first_has_ended() -> None:
    place, begun = slot()
    first, second = Task(1, "a", 10.0), Task(2, "b", 20.0)
    assert place.free
    place.take(first)
    place.take(second)
    assert begun == ["a", "b"]
    assert not place.free
    assert place.references == ["result of a"]
    assert place.deadline == place.started + 10.0
    assert place.end() is first
    assert (place.running, place.behind) == (second, None)
    assert place.deadline == place.started + 20.0
    assert place.end() is second
    assert place.free
    assert place.deadline == float("inf")


def test_all_of_a_lost_worker_is_given_back() -> None:
    place, _ = slot()
    tasks = [Task(1, "a", 10.0), Task(2, "b", 20.0)]
    for task in tasks:
        place.take(task)
    assert place.empty() == tasks
    assert place.free
    assert place.empty() == []


def test_results_gather_only_while_every_worker_has_more_to_do() -> None:
    places = [slot()[0] for _ in range(2)]
    for place in places:
        place.take(Task(1, "a", 10.0))
    places[0].take(Task(2, "b", 10.0))
    assert leisure(places, 0.04) == 0.0
    places[1].take(Task(3, "c", 10.0))
    assert leisure(places, 0.04) == 0.01
    assert leisure(places, 60.0) == GATHER_SECONDS
    places[0].starting = "a step of its start"
    assert leisure(places, 0.04) == 0.0
