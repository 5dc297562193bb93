"""Every schedule, depth first; or every one with at most so many preemptions (CHESS, PLDI 2007)."""

from __future__ import annotations

from collections.abc import Sequence

from cpugpu.explore.execution import Actor, Key
from cpugpu.explore.run import Run


class _Choice:
    """A point of the current schedule: what is left to try there."""

    __slots__ = ("left", "preemptions", "taken")

    def __init__(self, taken: Key, left: list[tuple[Key, int]], preemptions: int) -> None:
        self.taken = taken
        self.left = left  # with the preemptions that have been made then, the next one last
        self.preemptions = preemptions


class DepthFirst:
    """All schedules with at most `bound` preemptions, None for all.

    A switch away from an actor that could go on is a preemption. Whoever is running is tried first. `cut`: was a
    schedule left out because of the bound? If not, there are no others.
    """

    exhaustive = True
    to_the_end = False

    def __init__(self, bound: int | None = None) -> None:
        if bound is not None and bound < 0:
            raise ValueError(f"bound={bound!r} is neither a number of preemptions from 0 nor None")
        self.bound = bound
        self.cut = False
        self._path: list[_Choice] = []
        self._depth = 0
        self._begun = False

    def begin(self) -> bool:
        """Go back to the last choice that has something left."""
        self._depth = 0
        if not self._begun:
            self._begun = True
            return True
        while self._path:
            choice = self._path[-1]
            if choice.left:
                choice.taken, choice.preemptions = choice.left.pop()
                return True
            self._path.pop()
        return False

    def choose(self, enabled: Sequence[Actor], current: Actor | None) -> Actor | None:
        """Repeat the choices up to the last one; after that, go on with who is running."""
        depth = self._depth
        self._depth = depth + 1
        if depth < len(self._path):
            taken = self._path[depth].taken
            for actor in enabled:
                if actor.key == taken:
                    return actor
            return None
        made = self._path[-1].preemptions if self._path else 0
        if current in enabled:
            assert current is not None
            left = [(actor.key, made + 1) for actor in reversed(enabled) if actor is not current]
            if self.bound is not None and made >= self.bound:
                self.cut |= bool(left)
                left = []
            self._path.append(_Choice(current.key, left, made))
            return current
        self._path.append(_Choice(enabled[0].key, [(actor.key, made) for actor in reversed(enabled[1:])], made))
        return enabled[0]

    def end(self, run: Run) -> None:
        """Nothing to learn."""
