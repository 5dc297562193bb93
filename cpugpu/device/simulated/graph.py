"""A graph: what a capture has made. Each launch enqueues its nodes anew.

What was captured on the stream where the capture began goes on the stream of the launch; each forked branch goes on a
stream of the graph's own, which waits for the launch stream at its first node, and the launch stream waits for it at
the end. So to the launch stream a graph is one piece of work. Two launches of one graph never overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cpugpu.device.simulated.capture import Capture, is_node

if TYPE_CHECKING:
    from cpugpu.device.simulated.model import EventState, Machine, Operation, StreamState


class Renewed:
    """A part of an operation that is another one at each launch: one for which the host draws random numbers."""

    def __call__(self) -> None:
        """Do it."""
        raise NotImplementedError

    def anew(self) -> Renewed:
        """The part for one launch."""
        raise NotImplementedError


class _Node(NamedTuple):
    """`after`: the numbers of nodes on other streams that come first. `external`: "record" or "wait", and the event."""

    label: str
    parts: Sequence[Callable[[], object]]
    reads: Sequence[object]
    writes: Sequence[object]
    stream: StreamState
    after: tuple[int, ...]
    external: tuple[str, EventState] | None


class Graph:
    """`branches`: the streams of its own. `events`: those that it records or waits on when it runs."""

    def __init__(self, capture: Capture, last: Operation | None, machine: Machine) -> None:
        self.pool = capture.pool
        self.origin = capture.origin
        self.nodes: list[_Node] = []
        self.last: Operation | None = None  # of the launch that came last
        reach: dict[Operation, frozenset[int]] = {}  # by operation, the nodes that are its end
        for operation in capture.operations:
            before = frozenset[int]().union(*(reach[each] for each in operation.after))
            if not is_node(operation, capture):
                reach[operation] = before
                continue
            reach[operation] = frozenset([len(self.nodes)])
            # A stream's own order needs no edge.
            after = tuple(sorted(each for each in before if self.nodes[each].stream is not operation.stream))
            does = (operation.label, operation.parts, operation.reads, operation.writes)
            self.nodes.append(_Node(*does, operation.stream, after, capture.external.get(operation)))
            operation.parts = operation.reads = operation.writes = ()
        self.ends = sorted(reach[last]) if last is not None else []
        # The origin has one as well, for a launch on a stream of another device.
        self._own = {node.stream: machine.stream(node.stream.device) for node in self.nodes}
        self.branches = tuple(self._own.values())
        self.events = tuple({node.external[1]: None for node in self.nodes if node.external is not None})
        self.writes = tuple({id(each): each for node in self.nodes for each in node.writes}.values())

    def launch(self, machine: Machine, stream: StreamState, started: Callable[[Operation], None]) -> None:
        """Enqueue all of it on `stream`, and tell a driver of each operation. Refused while `stream` is capturing."""
        machine.captures.check_launch(stream)
        own = dict(self._own)
        if self.origin in own and stream.device is self.origin.device:
            own[self.origin] = stream
        first = [self.last] if self.last is not None else []
        if any(on is not stream for on in own.values()) or not self.nodes:
            first = [machine.enqueue(stream, "graph begins", after=first)]
            started(first[0])
        begun: set[StreamState] = set()
        done: list[Operation] = []
        last: Operation | None = None
        for node in self.nodes:
            on = own[node.stream]
            after = [done[each] for each in node.after]
            if on not in begun:
                begun.add(on)
                after += first
            last = self._enqueue(machine, on, node, after)
            started(last)
            done.append(last)
        if last is None or begun != {stream}:
            ends = [done[each] for each in self.ends if done[each].stream is not stream]
            last = machine.enqueue(stream, "graph ends", after=ends)
            started(last)
        self.last = last

    def _enqueue(self, machine: Machine, stream: StreamState, node: _Node, after: list[Operation]) -> Operation:
        if node.external is not None:
            kind, event = node.external
            if kind == "wait" and event.captured is not None and event.captured.capture is None:
                after.append(event.captured)
            operation = machine.enqueue(stream, node.label, after=after)
            if kind == "record":
                event.captured = operation
            return operation
        parts = [part.anew() if isinstance(part, Renewed) else part for part in node.parts]
        return machine.enqueue(stream, node.label, parts, reads=node.reads, writes=node.writes, after=after)
