"""The snippets, and what is known about each.

A snippet is one function in plain PyTorch and `threading`, written from scratch after a defect that somebody has met.
It runs on a GPU as it stands. Its docstring tells the story. `fixed` is the difference between the two forms, so that
every `if fixed:` or `if not fixed:` is a line of the patch; `rounds` is how many layers, batches or blocks it has: more
for the simulator, where chance has to find the defect, few for the explorer, which tries every order. It returns
whether the result is right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

#: The snippet with its defect (`fixed` False) or without, and how many rounds it goes.
Function = Callable[[bool, int], bool]


@dataclass(frozen=True)
class Snippet:
    """A function and what it needs. `hazards`: rows of the catalogue of hazards. `trackers`: where it was reported."""

    function: Function
    hazards: tuple[int, ...]
    trackers: tuple[str, ...]
    #: Rounds in the simulator and under the explorer.
    rounds: int
    explored_rounds: int
    devices: int = 1
    #: Does it capture CUDA graphs?
    graphs: bool = False
    #: What `simulate` is to be called with beside.
    options: dict[str, object] = field(default_factory=dict)
    #: What the explorer finds: a wrong outcome, or a deadlock.
    explored_as: str = "outcome"

    @property
    def name(self) -> str:
        """Of the family and of the function: `prefetch.no_wait_stream`."""
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}"


SNIPPETS: list[Snippet] = []

#: Clock cycles of a kernel that takes its time, some 70 µs. For `torch.cuda._sleep`, where a defect would hide
#: otherwise.
LONG = 100_000


def snippet(
    *trackers: str,
    hazards: tuple[int, ...],
    rounds: int = 6,
    explored_rounds: int = 2,
    devices: int = 1,
    graphs: bool = False,
    options: dict[str, object] | None = None,
    explored_as: str = "outcome",
) -> Callable[[Function], Function]:
    """Register a function as a snippet."""

    def register(function: Function) -> Function:
        SNIPPETS.append(
            Snippet(
                function,
                hazards,
                trackers,
                rounds,
                explored_rounds,
                devices,
                graphs,
                options or {},
                explored_as,
            )
        )
        return function

    return register


class Patience:
    """How long a snippet waits that may hang: a bounded time on a machine, for ever where deadlocks are found."""

    seconds: float | None = 0.3


def in_threads(*functions: Callable[[], None]) -> None:
    """Run them side by side, to the end. The first error is raised here."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(each,), name=each.__name__, daemon=True) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
