"""The table of faults: rows register here, scripts/faults runs them.

A row is a function that returns how the fault went, in words, and how long the recovery took (None where there is none).
What it promises it asserts; what it can't do here it says by `Missing`.
"""
import dataclasses
import time

ROWS = []


@dataclasses.dataclass
class Row:
    name: str
    what: callable
    bound: float | None
    smoke: bool
    seconds: int


def row(name, bound=2.0, smoke=False, seconds=20):
    """`bound`: seconds until new streams work again. `smoke`: part of scripts/check. `seconds`: what it takes, about."""
    def add(what):
        ROWS.append(Row(name, what, bound, smoke, seconds))
        return what
    return add


def sleep_until(at):
    time.sleep(max(0.0, at - time.monotonic()))
