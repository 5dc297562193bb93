"""Programs in pairs: one breaks a rule, its twin does the same thing right."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from cpugpu import settings
from cpugpu.debug.examples.stage import Stage

Program = Callable[[Stage], object]


@dataclass
class Pair:
    """The programs of one rule."""

    rule: str
    violates: Program
    clean: Program


#: By the rule's name.
PAIRS: dict[str, Pair] = {}

_half: dict[str, Program] = {}


def violates(rule: str) -> Callable[[Program], Program]:
    """Register a program that breaks `rule`. Its twin follows."""

    def register(program: Program) -> Program:
        _half[rule] = program
        return program

    return register


def clean(rule: str) -> Callable[[Program], Program]:
    """Register the twin of the program before: it breaks nothing."""

    def register(program: Program) -> Program:
        PAIRS[rule] = Pair(rule, _half.pop(rule), program)
        return program

    return register


def play(program: Program, mode: settings.DebugMode = "check") -> tuple[list[str], BaseException | None]:
    """Run `program` on a stage of its own: the rules that it broke, and what it raised."""
    raised = None
    with Stage(mode) as stage:
        try:
            program(stage)
        except Exception as exception:
            raised = exception.with_traceback(None)  # its frames keep events alive
        gc.collect()
        stage.beat()
    return stage.found, raised
