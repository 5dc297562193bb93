"""Mutants of the simulated device: what streams and events mean, how they are run, and what a thread knows of them."""

from __future__ import annotations

from stress.mutants.mutant import Mutant

_MODEL = "cpugpu.device.simulated.model"
_REAL_TIME = "cpugpu.device.simulated.realtime:RealTime"
_OBJECTS = "cpugpu.device.simulated.objects"
_SIMULATOR = "cpugpu.device.simulated.simulator:Simulator"
_DEVICE = "cpugpu.device.simulated.device"

DEVICE = (
    # -- the graph of operations
    Mutant(
        "streams-unordered",
        "device",
        f"{_MODEL}:Machine.enqueue",
        """
        -before = [stream.last, *behind]
        +before = [*behind]
        """,
        "The operations of a stream do not wait for each other.",
    ),
    Mutant(
        "default-stream-waits-for-nobody",
        "device",
        f"{_MODEL}:Machine.enqueue",
        """
        -    before += [other.last for other in device.blocking]
        +    pass
        """,
        "The legacy default stream does not wait for blocking streams.",
    ),
    Mutant(
        "blocking-streams-run-free",
        "device",
        f"{_MODEL}:Machine.enqueue",
        """
        -elif stream.blocking:  # ... which in turn wait for it
        -    before.append(device.default.last)
        """,
        "Blocking streams do not wait for the legacy default stream.",
    ),
    Mutant(
        "every-stream-blocking",
        "device",
        f"{_MODEL}:Machine.enqueue",
        """
        -elif stream.blocking:  # ... which in turn wait for it
        +else:
             before.append(device.default.last)
        """,
        "Streams that do not block wait for the legacy default stream all the same.",
    ),
    Mutant(
        "waits-twice-for-one",
        "device",
        f"{_MODEL}:Machine.enqueue",
        """
        -    if not other.done and other not in operation.waits_for:
        +    if not other.done:
                 operation.waits_for.add(other)
        """,
        "An operation that has two reasons to wait for one other becomes ready twice.",
    ),
    Mutant(
        "first-record-stays",
        "device",
        f"{_MODEL}:Machine.record",
        """
        -event.device, event.captured = stream.device, operation
        +event.device, event.captured = stream.device, event.captured or operation
        """,
        "Recording an event again does not overwrite what it has captured.",
    ),
    Mutant(
        "record-captures-what-is-done",
        "device",
        f"{_MODEL}:Machine.record",
        """
        -event.device, event.captured = stream.device, operation
        +event.device, event.captured = stream.device, None if operation.waits_for else operation
        """,
        "A record captures nothing while the stream has work to do.",
    ),
    Mutant(
        "any-device-records",
        "device",
        f"{_MODEL}:Machine.record",
        """
        -if event.device is not None and event.device is not stream.device:
        +if event.device is None and event.device is stream.device:
             raise DeviceError(
        """,
        "An event that belongs to one device can be recorded on another.",
    ),
    Mutant(
        "wait-is-nothing",
        "device",
        f"{_MODEL}:Machine.wait",
        """
        -return self.enqueue(stream, "wait", after=event.captured)
        +return self.enqueue(stream, "wait")
        """,
        "A stream does not wait for the event.",
    ),
    Mutant(
        "wait-within-the-device",
        "device",
        f"{_MODEL}:Machine.wait",
        """
        -return self.enqueue(stream, "wait", after=event.captured)
        +return self.enqueue(stream, "wait", after=event.captured if event.device is stream.device else None)
        """,
        "A wait for an event of another device is not made.",
    ),
    Mutant(
        "wait-for-the-stream",
        "device",
        f"{_MODEL}:Machine.wait",
        """
        -return self.enqueue(stream, "wait", after=event.captured)
        +return self.enqueue(stream, "wait", after=event.captured.stream.last)
        """,
        "A wait is bound to the newest work of the recorded stream instead of the record.",
    ),
    Mutant(
        "unrecorded-is-an-error",
        "device",
        f"{_MODEL}:Machine.wait",
        """
         if event.captured is None:
        -    return None
        +    raise DeviceError("the event was never recorded")
        """,
        "A wait for an event that nobody has recorded raises instead of doing nothing.",
    ),
    Mutant(
        "one-reason-is-enough",
        "device",
        f"{_MODEL}:Machine.finish",
        """
         dependent.waits_for.discard(operation)
        -if not dependent.waits_for:
        -    ready.append(dependent)
        +ready.append(dependent)
        """,
        "An operation that waits for two others runs after one of them.",
    ),
    Mutant(
        "error-told-once",
        "device",
        f"{_MODEL}:DeviceState.raise_error",
        """
        -if self.error is not None:
        +error, self.error = self.error, None
        +if error is not None:
             raise DeviceError(
        """,
        "The error of a kernel is reported by one call, and then forgotten.",
    ),
    Mutant(
        "query-too-early",
        "device",
        f"{_MODEL}:EventState.done",
        """
        -return self.captured is None or self.captured.done
        +return self.captured is None or not self.captured.waits_for
        """,
        "An event counts as done as soon as the stream gets to its record.",
    ),
    Mutant(
        "idle-too-early",
        "device",
        f"{_MODEL}:StreamState.idle",
        """
        -return self.last is None or self.last.done
        +return self.last is None or not self.last.waits_for
        """,
        "A stream counts as idle while its last operation runs.",
    ),
    Mutant(
        "elapsed-backwards",
        "device",
        f"{_MODEL}:Machine.elapsed_ms",
        """
        -return (end.captured.finished_at - start.captured.finished_at) * 1e3
        +return (start.captured.finished_at - end.captured.finished_at) * 1e3
        """,
        "The time between two records has the wrong sign.",
    ),
    # -- the driver
    Mutant(
        "one-waiter-woken",
        "device",
        f"{_REAL_TIME}._run",
        """
        -for wake in waiters:
        +for wake in waiters[:1]:
             wake()
        """,
        "Of two threads that block on one operation one is woken.",
    ),
    Mutant(
        "error-swallowed",
        "device",
        f"{_REAL_TIME}._run",
        """
         except BaseException as error:
        -    device.error = error
        +    del error
        """,
        "A kernel that fails is as good as one that does not.",
    ),
    Mutant(
        "worker-leaves-work-behind",
        "device",
        f"{_REAL_TIME}._work",
        """
        -if worker.inbox.empty():
        -    del self._workers[worker.stream]
        -    return
        +del self._workers[worker.stream]
        +return
        """,
        "A worker that ends because it was idle does not look whether work has come in that moment.",
        "can hardly be seen: a worker ends when it was idle for 5 s, and work has to come in that very moment",
    ),
    # -- what the host sees
    Mutant(
        "stream-synchronize-returns",
        "device",
        f"{_OBJECTS}:SimStream.synchronize",
        """
        -self.simulator.driver.block([last])
        +self.simulator.driver.block([])
        """,
        "Synchronising with a stream does not block.",
    ),
    Mutant(
        "event-synchronize-waits-too-long",
        "device",
        f"{_OBJECTS}:SimEvent.synchronize",
        """
        -self.simulator.driver.block([captured])
        +self.simulator.driver.block([captured and captured.stream.last])
        """,
        "Synchronising with an event waits for later work of its stream as well.",
    ),
    Mutant(
        "no-stream-is-the-default-one",
        "device",
        f"{_OBJECTS}:SimEvent._stream",
        """
        -    return self.simulator.current_stream(self.simulator.current_index)
        +    return self.simulator.default_stream(self.simulator.current_index)
        """,
        "An event that is given no stream uses the default one instead of the thread's current one.",
    ),
    Mutant(
        "device-synchronize-returns-early",
        "device",
        f"{_SIMULATOR}.synchronize",
        """
        -    pending = list(state.pending)
        +    pending = list(state.pending)[:1]
        """,
        "Synchronising with a device waits for its oldest operation only.",
    ),
    Mutant(
        "current-streams-shared",
        "device",
        f"{_SIMULATOR}.__init__",
        """
        -self._local = threading.local()
        +self._local = type("Shared", (), {})()
        """,
        "The current device and the current streams are those of all threads.",
    ),
    Mutant(
        "use-does-not-restore",
        "device",
        f"{_SIMULATOR}.use",
        """
         if before is None:
        -    del streams[index]
        +    pass
         else:
        """,
        "At the end of `use` the stream stays the current one.",
    ),
    Mutant(
        "pool-starts-anew",
        "device",
        f"{_SIMULATOR}.stream",
        """
        -return streams[(turn[0] - 1) % self.pool_size]
        +return streams[-1]
        """,
        "From the 33rd on, every stream is the last one of the pool.",
    ),
    # -- kernels, and the seam
    Mutant(
        "kernels-atomic",
        "device",
        f"{_DEVICE}:_in_halves",
        """
        -return [lambda: part(slice(0, size // 2)), lambda: part(slice(size // 2, size))]
        +return [lambda: part(slice(0, size))]
        """,
        "A kernel over several elements is never seen half done.",
    ),
    Mutant(
        "spare-of-another-device",
        "device",
        f"{_DEVICE}:SimulatedDevice.record",
        """
        -event = spare if isinstance(spare, SimEvent) and spare.device_index == stream.device_index else None
        +event = spare if isinstance(spare, SimEvent) else None
        """,
        "The spare event of a hand-off is recorded again although it belongs to another device.",
    ),
)
