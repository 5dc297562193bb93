"""On which stream an operation goes: the calling thread's current one, except in a backward pass.

torch's rule (notes/cuda.html, "Stream semantics of backward passes"): each backward operation runs on the stream that
its forward operation ran on. Where a gradient comes from another stream, its consumer's stream waits for it. The pass
as a whole is ordered as any other call: it comes after what the caller's current stream held, and what the caller
enqueues next comes after it.

A node of the graph does not tell Python where it was made. So while more streams than the default ones are in use, each
operation that consumes a tensor marks the node which made that tensor with the stream on which it did. A function of
the program's own (`autograd.Function`) may use other streams within: its node has the stream that is current when it
returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from cpugpu.device.simulated.model import Operation, StreamState
from cpugpu.simulate import session
from cpugpu.simulate.runtime import Runtime
from cpugpu.simulate.tensor import SimTensor

#: Where a node keeps its stream.
_KEY = "cpugpu stream"
_current_node: Callable[[], Any] = torch._C._current_autograd_node  # noqa: SLF001


class Pass:
    """A backward pass under way in a thread. `first`: what has to come before it, by device."""

    def __init__(self, runtime: Runtime) -> None:
        simulator = runtime.simulator
        self.callers = [runtime.current(index) for index in range(simulator.device_count)]
        if any(stream.capture is not None for stream in self.callers):  # a graph waits for nothing else
            self.callers = [stream for stream in self.callers if stream.capture is not None]
        self.first = [stream.last for stream in self.callers]
        self.streams: set[StreamState] = set()  # that it has used
        self.made: dict[int, Operation] = {}  # what has filled a gradient, by the memory


def stream(runtime: Runtime, index: int, args: Sequence[Any]) -> StreamState:
    """Where the calling thread's next operation on these goes."""
    current = runtime.current(index)
    node = _current_node()
    if node is None:
        if runtime.simulator.switched and torch.is_grad_enabled():
            _mark(args)
        return current
    under_way: Pass | None = getattr(runtime.local, "backward", None)
    if under_way is None or current is not under_way.callers[index]:  # a hook has entered a stream of its own
        return current
    found = _stream_of(node, runtime, index)
    _order(runtime, under_way, found, args)
    return found


def hooks_stream(index: int) -> StreamState | None:
    """The stream that is current in a hook which has not entered one: that of its node. None outside a pass."""
    runtime = session.runtime()
    under_way: Pass | None = getattr(runtime.local, "backward", None)
    node = _current_node() if under_way is not None else None
    if node is None or under_way is None or runtime.current(index) is not under_way.callers[index]:
        return None
    return _stream_of(node, runtime, index)


def made(operation: Operation, memories: Sequence[object], runtime: Runtime) -> None:
    """They are filled by `operation`."""
    under_way: Pass | None = getattr(runtime.local, "backward", None)
    if under_way is not None:
        for memory in memories:
            under_way.made[id(memory)] = operation


def double(original: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of the function that runs the engine."""

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        runtime = session.current()
        if runtime is None:
            return original(*args, **kwargs)
        outer: Pass | None = getattr(runtime.local, "backward", None)
        runtime.step("backward")
        if runtime.simulator.switched:
            _mark(args[0] if isinstance(args[0], Sequence) else (args[0],))
        under_way = runtime.local.backward = Pass(runtime)
        try:
            if not runtime.scheduled:
                return _where_inputs_are(original(*args, **kwargs), args)
            with runtime.uninterrupted():
                return _where_inputs_are(original(*args, **kwargs), args)
        finally:
            runtime.local.backward = outer
            _join(runtime, under_way)

    return run_backward


def apply(original: Any) -> Any:
    """What takes the place of `torch.autograd.Function.apply`, a class method."""

    @functools.wraps(original)
    def run(cls: Any, *args: Any, **kwargs: Any) -> Any:
        results = original.__func__(cls, *args, **kwargs)
        runtime = session.current()
        if runtime is not None and runtime.simulator.switched:
            for each in results if isinstance(results, tuple) else (results,):
                node: Any = each.grad_fn if isinstance(each, SimTensor) else None
                if node is not None:
                    index = each._block.index
                    node.metadata.setdefault(_KEY, hooks_stream(index) or runtime.current(index))
        return results

    return classmethod(run)


def _where_inputs_are(grads: Any, args: Sequence[Any]) -> Any:
    """Gradients that torch's C++ has made on the host (zeros, all of them) go to the device."""
    if not grads or all(grad is None or isinstance(grad, SimTensor) for grad in grads):
        return grads
    inputs = args[4]
    return tuple(
        grad if grad is None or not isinstance(tensor, SimTensor) else grad.to(tensor.device)
        for grad, tensor in zip(grads, inputs, strict=True)
    )


def _mark(args: Sequence[Any]) -> None:
    """Note at the nodes which made these tensors on which streams they did."""
    for value in args:
        if isinstance(value, SimTensor):
            if value.requires_grad:
                _mark_one(value)
        elif isinstance(value, list | tuple):
            _mark(value)


def _mark_one(tensor: SimTensor) -> None:
    node: Any = tensor.grad_fn
    if node is None:
        if not hasattr(tensor, "_accumulates_on"):  # a leaf: gradients come together where it was used first
            tensor._accumulates_on = tensor._runtime.current(tensor._block.index)
    elif _KEY not in node.metadata:
        node.metadata[_KEY] = tensor._made_on


def _stream_of(node: Any, runtime: Runtime, index: int) -> StreamState:
    variable = getattr(node, "variable", None)
    found: StreamState | None
    found = node.metadata.get(_KEY) if variable is None else getattr(variable, "_accumulates_on", None)
    if found is None or found.device.index != index:
        found = runtime.simulator.default_stream(index).state
    return found


def _order(runtime: Runtime, under_way: Pass, stream: StreamState, args: Sequence[Any]) -> None:
    """Let `stream` wait for the caller's work, and for the gradients among `args` that other streams make."""
    after: list[Operation] = []
    if stream not in under_way.streams:
        under_way.streams.add(stream)
        after += [each for each in under_way.first if each is not None]
    for value in args:
        if isinstance(value, SimTensor):
            operation = under_way.made.get(id(value._block.memory))
            if operation is not None:
                after.append(operation)
                value._block.use_on(stream)  # as torch's engine does, or its memory could be taken while it is read
    _wait(runtime, stream, after)


def _join(runtime: Runtime, under_way: Pass) -> None:
    """What the caller enqueues next comes after the whole pass."""
    last = [stream.last for stream in under_way.streams]
    for caller in under_way.callers:
        _wait(runtime, caller, [each for each in last if each is not None])


def _wait(runtime: Runtime, stream: StreamState, after: Sequence[Operation]) -> None:
    for operation in after:
        if operation.stream is not stream and not operation.done:
            runtime.wait_for(stream, operation)
