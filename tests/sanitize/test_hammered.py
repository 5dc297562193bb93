"""Many threads and streams at once, through all of the interception: nothing is lost, and nothing gets stuck."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from cpugpu.device.simulated import no_latency  # noqa: E402
from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402

#: For a longer look: HAMMER_ROUNDS=20000 takes a minute or two.
THREADS, ROUNDS = 8, int(os.environ.get("HAMMER_ROUNDS", "60"))


@pytest.fixture
def short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def pass_round(mine: queue.Queue[Any], following: queue.Queue[Any], errors: list[BaseException], waits: bool) -> None:
    """Take a tensor with its event, work on it on two streams, hand it on."""
    try:
        streams = [torch.cuda.Stream(), torch.cuda.Stream()]
        for _ in range(ROUNDS):
            x, done = mine.get()
            if waits:
                streams[0].wait_event(done)
            with torch.cuda.stream(streams[0]):
                x.add_(1)
            for stream in streams:  # both use what a third one has made
                x.record_stream(stream)
            streams[1].wait_stream(streams[0])
            done = torch.cuda.Event()
            with torch.cuda.stream(streams[1]):
                y = x * 1
                done.record()
            following.put((y, done))
    except BaseException as error:
        errors.append(error)
        following.put((None, None))


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("waits", [True, False])
def test_eight_threads_and_sixteen_streams(waits: bool) -> None:
    errors: list[BaseException] = []
    with simulate(latency=no_latency), watching() as session:
        queues: list[queue.Queue[Any]] = [queue.Queue() for _ in range(THREADS)]
        for each in queues:  # so many are under way at any time
            done = torch.cuda.Event()
            x = torch.zeros(16, device="cuda")
            done.record()
            each.put((x, done))
        threads = [
            threading.Thread(target=pass_round, args=(queues[i], queues[(i + 1) % THREADS], errors, waits))
            for i in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        torch.cuda.synchronize()
        totals = sorted(each.get()[0].tolist()[0] for each in queues) if waits and not errors else []
    assert errors == []
    if waits:
        assert list(session.model.findings) == []
        assert totals == [float(ROUNDS)] * THREADS
    else:
        assert "race" in {finding.rule for finding in session.model.findings}
