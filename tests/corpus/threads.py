"""Threads and streams: what a thread inherits, what it leaves behind, and what an event says to another thread."""

from __future__ import annotations

import concurrent.futures
import queue
import threading

import torch

from tests.corpus.registry import LONG, Patience, in_threads, snippet


@snippet("vllm#37601", "sgl#14214", hazards=(1,), rounds=1, explored_rounds=1)
def wait_before_record(fixed: bool, rounds: int) -> bool:
    """The smallest of all: a thread lets its stream wait for an event that another thread has not recorded yet."""
    x = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    event, recorded, seen = torch.cuda.Event(), threading.Event(), []

    def producer() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            x.fill_(1)
            event.record()
        recorded.set()

    def consumer() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            if fixed:
                recorded.wait()
            event.wait()
            seen.append(x.tolist())

    in_threads(consumer, producer)
    return seen == [[1.0] * 4]


@snippet(hazards=(2,), rounds=1, explored_rounds=1)
def query_before_record(fixed: bool, rounds: int) -> bool:
    """A thread that polls takes an event that is not recorded for one that is done: `query()` is True."""
    host = torch.zeros(4).pin_memory()
    source = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    seen = []
    recorded: queue.Queue = queue.Queue()
    event = torch.cuda.Event()

    def copier() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            host.copy_(source, non_blocking=True)
            event.record()
        recorded.put(event)

    def poller() -> None:
        done = recorded.get() if fixed else event
        if not done.query():
            done.synchronize()  # where a program would come back later
        seen.append(host.tolist())

    in_threads(poller, copier)
    return seen == [[1.0] * 4]


@snippet("ml-explore/mlx#1768", hazards=(8, 16), rounds=4, explored_rounds=1)
def flag_before_the_work_is_done(fixed: bool, rounds: int) -> bool:
    """A flag of the host says that work was *enqueued*. The stream of the other thread starts before it is done."""
    x = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    handed: queue.Queue = queue.Queue()
    seen = []

    def producer() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for number in range(rounds):
                torch.cuda._sleep(LONG)
                x[number].fill_(1)
                event = torch.cuda.Event()
                event.record()
                handed.put(event)

    def consumer() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for number in range(rounds):
                event = handed.get()
                if fixed:
                    event.wait()
                seen.append(x[number].tolist()[0])

    in_threads(producer, consumer)
    return seen == [1.0] * rounds


@snippet("ROCm/pytorch#1053", hazards=(9,), rounds=6, explored_rounds=1)
def helper_thread_has_its_own_current_stream(fixed: bool, rounds: int) -> bool:
    """`parallel_apply` under `with torch.cuda.stream(...)`: the threads that it starts are on the default stream.

    The current stream is a thread's own. A new thread does not inherit it, so what it enqueues is not behind what the
    one that has started it has enqueued.
    """
    results = []
    with torch.cuda.stream(torch.cuda.Stream()):
        stream = torch.cuda.current_stream()
        x = torch.zeros(4, device="cuda")
        stream.synchronize()

        def module() -> None:
            with torch.cuda.stream(stream if fixed else None):
                results.append((x * 2).tolist()[0])

        for number in range(rounds):
            torch.cuda._sleep(LONG)
            x.fill_(number + 1)
            in_threads(module)
    return results == [2.0 * (number + 1) for number in range(rounds)]


@snippet("ds#7898", "pt#45787", hazards=(8,), rounds=8, explored_rounds=1)
def recorded_on_the_wrong_stream(fixed: bool, rounds: int) -> bool:
    """`event.record()` a line below the `with`: it is recorded on the default stream, where nothing has happened."""
    side, reader = torch.cuda.Stream(), torch.cuda.Stream()
    x = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    read = []
    for number in range(rounds):
        event = torch.cuda.Event()
        with torch.cuda.stream(side):
            torch.cuda._sleep(LONG)
            x[number].fill_(1)
            if fixed:
                event.record()
        if not fixed:
            event.record()
        with torch.cuda.stream(reader):
            event.wait()
            read.append(x[number] + 0)
    torch.cuda.synchronize()
    return all(row.tolist() == [1.0] * 4 for row in read)


@snippet("Nerogar/OneTrainer#1306", hazards=(7,), rounds=8, explored_rounds=1)
def recorded_too_early(fixed: bool, rounds: int) -> bool:
    """The event is recorded, and then another kernel is enqueued that was meant to be covered by it."""
    side, reader = torch.cuda.Stream(), torch.cuda.Stream()
    x = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    read = []
    for number in range(rounds):
        event = torch.cuda.Event()
        with torch.cuda.stream(side):
            x[number].fill_(1)
            if not fixed:
                event.record()
            torch.cuda._sleep(LONG)
            x[number].add_(1)
            if fixed:
                event.record()
        with torch.cuda.stream(reader):
            event.wait()
            read.append(x[number] + 0)
    torch.cuda.synchronize()
    return all(row.tolist() == [2.0] * 4 for row in read)


@snippet("trl#7195", hazards=(10,), rounds=8, explored_rounds=1)
def stream_kept_from_the_beginning(fixed: bool, rounds: int) -> bool:
    """An offloader asks for the current stream when it is made, and is used under another one."""

    class Offloader:
        def __init__(self) -> None:
            self.compute = torch.cuda.current_stream()
            self.side = torch.cuda.Stream()

        def offload(self, activation: torch.Tensor) -> torch.Tensor:
            compute = torch.cuda.current_stream() if fixed else self.compute
            self.side.wait_stream(compute)
            with torch.cuda.stream(self.side):
                return activation.to("cpu", non_blocking=True)

    offloader = Offloader()
    activations = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    stored = []
    with torch.cuda.stream(torch.cuda.Stream()):
        for layer in range(rounds):
            torch.cuda._sleep(LONG)
            activations[layer].fill_(layer + 1)
            stored.append(offloader.offload(activations[layer]))
    torch.cuda.synchronize()
    return [row.tolist()[0] for row in stored] == [layer + 1.0 for layer in range(rounds)]


@snippet(hazards=(8, 10), rounds=8, explored_rounds=1)
def set_stream_leaks(fixed: bool, rounds: int) -> bool:
    """A helper calls `torch.cuda.set_stream` and does not set it back: its caller goes on on another stream."""
    side = torch.cuda.Stream()
    x = torch.zeros(4, device="cuda")
    torch.cuda.synchronize()
    log = []

    def log_metrics() -> None:
        if fixed:
            with torch.cuda.stream(side):
                log.append(torch.ones(1, device="cuda"))
        else:
            torch.cuda.set_stream(side)
            log.append(torch.ones(1, device="cuda"))

    read = []
    for number in range(rounds):
        torch.cuda.set_stream(torch.cuda.default_stream())  # each step of the program is right by itself
        x.fill_(number + 1)
        log_metrics()
        read.append(x + 0)
    torch.cuda.set_stream(torch.cuda.default_stream())
    torch.cuda.synchronize()
    return [row.tolist()[0] for row in read] == [number + 1.0 for number in range(rounds)]


@snippet("vllm#53960", hazards=(4, 5, 6), rounds=6, explored_rounds=2)
def shared_input_event(fixed: bool, rounds: int) -> bool:
    """One `_input_ready_event` for the inputs of all requests, recorded again while a request thread is on its way.

    The main thread is a batch ahead. It records the event anew before the request thread has let its stream wait, which
    is then bound to a batch that it does not serve. In vLLM the model's stream waited for the answer of that thread (by
    a semaphore in device memory, which plain PyTorch does not have), so that nothing moved any more. Without the
    semaphore the thread serves its request with the inputs of the next one. An event, and inputs, of each batch keep
    them apart.
    """
    inputs = torch.zeros(2, 4, device="cuda")
    torch.cuda.synchronize()
    input_ready = [torch.cuda.Event(), torch.cuda.Event()]
    served = [threading.Semaphore(1), threading.Semaphore(1)]
    requests: queue.Queue = queue.Queue()
    answers = []

    def model() -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for batch in range(rounds):
                slot = batch % 2 if fixed else 0
                served[batch % 2].acquire()  # at most two batches are on their way
                inputs[slot].fill_(batch + 1)
                input_ready[slot].record()
                requests.put(slot)

    def request_thread() -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for batch in range(rounds):
                slot = requests.get()
                input_ready[slot].wait()
                answers.append(inputs[slot].tolist()[0])
                served[batch % 2].release()

    in_threads(model, request_thread)
    return answers == [batch + 1.0 for batch in range(rounds)]


@snippet(
    *("vllm#57883", "NVIDIA/DALI#429"),
    hazards=(32,),
    rounds=2,
    explored_rounds=1,
    explored_as="deadlock",
)
def producer_dies_before_it_records(fixed: bool, rounds: int) -> bool:
    """The producer raises before it hands its event over, and the consumer waits for ever.

    The exception lies in a future at which nobody looks. Right is that the consumer gets to know, in whatever way.
    """
    handed: queue.Queue = queue.Queue()
    outcomes = []

    def producer() -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                for number in range(rounds):
                    x = torch.full((4,), number + 1.0, device="cuda")
                    if number == rounds - 1:
                        raise OSError("no such file")
                    event = torch.cuda.Event()
                    event.record()
                    handed.put((x, event))
        except OSError as error:
            if fixed:
                handed.put((None, error))
            raise

    def consumer() -> None:
        try:
            for _ in range(rounds):
                x, event = handed.get(timeout=Patience.seconds)
                if x is None:
                    outcomes.append("told")
                    return
                event.wait()
                outcomes.append((x + 0).tolist()[0])
        except queue.Empty:
            outcomes.append("hangs")

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(producer)
        in_threads(consumer)
    return outcomes == [*(number + 1.0 for number in range(rounds - 1)), "told"]


#: A stream is handed out again after so many.
POOL = 32


@snippet(
    hazards=(20,),
    rounds=6,
    explored_rounds=1,
    options={"pool": None},
)
def fixed_by_luck_when_the_pool_wraps(fixed: bool, rounds: int) -> bool:
    """A missing wait that torch hides: the 33rd stream of the pool *is* the first.

    The producer takes the first stream of the program, the consumer one that is made long after, when the pool has come
    round: both are the same queue, and nothing is missing. With one stream more or less in between (another library
    that makes one) they are two. `simulate(pool=None)` never hands a stream out twice, and shows it.
    """
    producer = torch.cuda.Stream()
    for _ in range(POOL - 1):
        torch.cuda.Stream()  # other parts of the program
    consumer = torch.cuda.Stream()
    x = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    read = []
    for number in range(rounds):
        with torch.cuda.stream(producer):
            torch.cuda._sleep(LONG)
            x[number].fill_(1)
        if fixed:
            consumer.wait_stream(producer)
        with torch.cuda.stream(consumer):
            read.append(x[number] + 0)
    torch.cuda.synchronize()
    return all(row.tolist() == [1.0] * 4 for row in read)
