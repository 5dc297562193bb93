"""One event for the inputs of all requests, and a batch that is ahead of its time.

vLLM's offload of per-layer embeddings had one `_input_ready_event` for the whole connector. The main thread records it
on the model's stream and goes on; a request thread copies the inputs to the host, computes, and raises a semaphore that
the model's stream waits for. With asynchronous scheduling the main thread is a batch ahead: it records the event
*again*, behind the model's wait for the first answer. A request thread that is late is then bound to the second record,
which comes after an answer that only this thread can give: nothing moves any more (vllm#53960).

`CpuGpuEvent` keeps the two records apart. `pending` turns False when the first wait has *taken* its record; whatever is
recorded then cannot change what that wait is bound to, although the wait itself may not be in its stream yet.

The semaphore is a kernel that waits for the host, so this runs on the simulated device only.

    $ cpugpu stress stress/stress_shared_input.py --stress-seconds=2 --stress-device=sim
    shared_input[CpuGpuEvent]: passed (244 executions in 1.9 s)
        outcome   times   share  grade     meaning
        answered    244  100.0%  accepted  every request was served with its own inputs
"""

from __future__ import annotations

import queue
import threading

from cpugpu import CpuGpuEvent, scenario
from cpugpu.rig import HANG, Rig

SIZE, BATCHES = 8, 3


@scenario(
    accept={"answered": "every request was served with its own inputs"},
    forbid={
        HANG: "a wait was bound to a record behind the answer that it was to give",
        "stale": "a request was served with other inputs",
    },
    needs=("pending",),
    only=("simulator",),
)
def shared_input(rig: Rig, make_event: type[CpuGpuEvent] = CpuGpuEvent) -> str:
    """The model is a batch ahead of the request thread, where it is let."""
    ready, wrong = make_event(), rig.buffer(0)
    inputs = [rig.buffer(0, SIZE) for _ in range(BATCHES)]
    staged = rig.buffer(0, SIZE)
    answers = [threading.Event() for _ in range(BATCHES)]
    requests: queue.SimpleQueue[int] = queue.SimpleQueue()

    def semaphore(batch: int) -> None:
        answers[batch].wait()

    def model() -> None:
        stream = rig.stream()
        for batch in range(BATCHES):
            rig.fill(inputs[batch], batch + 1, stream)
            rig.until(lambda: not ready.pending)
            ready.record(stream)
            requests.put(batch)
            rig.launch(stream, lambda batch=batch: semaphore(batch))

    def request_thread() -> None:
        stream = rig.stream()
        for _ in range(BATCHES):
            batch = requests.get()
            ready.wait(stream)
            rig.copy(inputs[batch], staged, stream)
            rig.check(staged, batch + 1, wrong, stream)
            stream.synchronize()
            answers[batch].set()

    try:
        rig.run(model, request_thread)
    finally:
        for answer in answers:
            answer.set()  # so that a standstill ends with its execution
    return "answered" if rig.read(wrong) == 0 else "stale"
