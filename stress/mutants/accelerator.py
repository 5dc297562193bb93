"""Mutants of the accelerator's device: what torch is told to do with streams and events. Only a real one shows them."""

from __future__ import annotations

from stress.mutants.mutant import Mutant

_DEVICE = "cpugpu.device.accelerator:AcceleratorDevice"

ACCELERATOR = (
    Mutant(
        "torch-record-left-out",
        "accelerator",
        f"{_DEVICE}.record",
        """
        -event.record(stream)
         return event  # type: ignore[no-any-return]
        """,
        "The event is never recorded, so that a wait for it is a no-op.",
    ),
    Mutant(
        "torch-record-on-current-stream",
        "accelerator",
        f"{_DEVICE}.record",
        """
        -stream = self._stream(stream)
        +stream = self.current_stream()
        """,
        "A record captures the thread's current stream instead of the one that it is given.",
    ),
    Mutant(
        "torch-spare-of-another-device",
        "accelerator",
        f"{_DEVICE}.record",
        """
        -if event is None or self._fresh or event.device != stream.device:
        +if event is None or self._fresh:
             event = self.event()
        """,
        "An event that is bound to one device is recorded again on another.",
        "takes two accelerators: with one there is no other device",
    ),
    Mutant(
        "torch-wait-left-out",
        "accelerator",
        f"{_DEVICE}.wait",
        """
        -event.wait(self._stream(stream))
        +self._stream(stream)
        """,
        "The stream does not wait for the event.",
    ),
    Mutant(
        "torch-wait-on-current-stream",
        "accelerator",
        f"{_DEVICE}.wait",
        """
        -event.wait(self._stream(stream))
        +event.wait(self.current_stream())
        """,
        "The thread's current stream waits instead of the one that is given.",
    ),
    Mutant(
        "torch-every-stream-the-default-one",
        "accelerator",
        f"{_DEVICE}.stream",
        """
        -    stream: Any = torch.cuda.Stream(self._index(), priority=priority)
        +    stream: Any = torch.cuda.default_stream(self._index())
         else:
        """,
        "All streams are the default one, so that nothing is ever out of order.",
    ),
    Mutant(
        "torch-use-changes-nothing",
        "accelerator",
        f"{_DEVICE}.use",
        """
        -torch.accelerator.set_stream(stream)
         try:
        """,
        "Kernels go to the thread's current stream, whichever they were meant for.",
    ),
    Mutant(
        "torch-use-does-not-restore",
        "accelerator",
        f"{_DEVICE}.use",
        """
         try:
        -    torch.accelerator.set_stream(before)
        +    pass
         finally:
             torch.accelerator.set_device_index(device)
        """,
        "At the end of `use` the stream stays the current one.",
    ),
    Mutant(
        "torch-fill-on-current-stream",
        "accelerator",
        f"{_DEVICE}.fill",
        """
        -with self.use(stream):
        -    target.tensor.fill_(value)
        +target.tensor.fill_(value)
        """,
        "A fill is queued on the thread's current stream.",
    ),
    Mutant(
        "torch-copy-on-current-stream",
        "accelerator",
        f"{_DEVICE}.copy",
        """
        -with self.use(stream):
        -    target.tensor.copy_(source.tensor, non_blocking=True)
        +target.tensor.copy_(source.tensor, non_blocking=True)
        """,
        "A copy is queued on the thread's current stream.",
    ),
    Mutant(
        "torch-synchronize-looks-at-the-default-stream",
        "accelerator",
        f"{_DEVICE}.synchronize",
        """
        -for stream in (*self._made, self.default_stream(), self.current_stream()):
        +for stream in (self.default_stream(), self.current_stream()):
             while not stream.query():
        """,
        "A device counts as idle while its other streams work.",
    ),
    Mutant(
        "torch-buffer-not-ready",
        "accelerator",
        f"{_DEVICE}.buffer",
        """
        -self.current_stream().synchronize()
         return TensorBuffer(tensor)
        """,
        "A new buffer is handed out while its first value is still on its way, on another stream.",
        "the default stream is idle when a scenario makes a buffer, and a fill of some bytes is done in microseconds:"
        " long before another thread has enqueued anything",
    ),
)
