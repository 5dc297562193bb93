"""A thread whose exception is not lost, and that can be asked where it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable

from cpugpu.stacks import current_frames


class in_thread:  # noqa: N801
    """`with in_thread(function) as thread:` starts it, `thread.join()` raises what it raised."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._exception: BaseException | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> in_thread:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._thread.join()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()
        if self._exception is not None:
            raise self._exception

    def stands_in(self, function: str) -> bool:
        return self.stands(self._thread, function)

    @staticmethod
    def stands(thread: threading.Thread, function: str) -> bool:
        """Is a function of that name what the thread executes (and, if it takes a lock, perhaps waits in)?"""
        frame = current_frames().get(thread.ident or 0)
        return frame is not None and frame.f_code.co_name == function

    def _main(self) -> None:
        try:
            self._function()
        except BaseException as exception:
            self._exception = exception
