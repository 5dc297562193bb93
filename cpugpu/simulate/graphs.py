"""`torch.cuda.CUDAGraph` and what belongs to it, while a simulation is on.

The rules of capture are the simulated device's. What torch adds: memory that is allocated on a capturing stream comes
from a pool of the graph's own, so that each replay finds it where it was, and nobody else gets it in between.
"""

from __future__ import annotations

import gc
import itertools
import warnings
from typing import Any, ClassVar

import torch

from cpugpu.device.simulated.objects import SimGraph, SimStream
from cpugpu.errors import NotSimulated, SimulationOver
from cpugpu.simulate import backward, session, streams
from cpugpu.simulate.memory import GraphPool
from cpugpu.simulate.runtime import Runtime

#: What names a pool, as torch has it: two numbers, one of which is 0.
Handle = tuple[int, int]

_numbers = itertools.count(1)


def graph_pool_handle() -> Handle:
    """A new name, for graphs that are to share their memory."""
    session.runtime()
    return 0, next(_numbers)


def is_current_stream_capturing() -> bool:
    """Does what the calling thread enqueues go into a graph?"""
    return _current(session.runtime()).is_capturing()


class CUDAGraph:
    """`torch.cuda.CUDAGraph`."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._keep_graph = keep_graph
        self._runtime = session.runtime()
        self._stream: SimStream | None = None  # on which a capture is under way
        self._pool: GraphPool | None = None
        self._graph: SimGraph | None = None

    def capture_begin(
        self,
        pool: Handle | None = None,
        capture_error_mode: str = "global",
        check_input_liveness: bool = False,  # noqa: ARG002 - the graph keeps its inputs' memory
    ) -> None:
        """From now on what is enqueued on the current stream goes into this graph."""
        runtime = self._usable()
        if self._graph is not None:
            raise RuntimeError(
                "This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance"
                " or call reset."
            )
        stream = _current(runtime)
        if stream.state is stream.state.device.default:
            raise RuntimeError(
                "CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them"
                " on the default stream.)"
            )
        handle = pool or (next(_numbers), 0)
        found = runtime.graph_pools.get(handle)
        if found is None:
            found = runtime.graph_pools[handle] = GraphPool(runtime, handle)
        stream.begin_capture(capture_error_mode, found)
        found.users += 1
        self._stream, self._pool = stream, found

    def capture_end(self) -> None:
        """The graph is complete."""
        runtime = self._usable()
        began_on = self._stream
        if began_on is None or _current(runtime).state is not began_on.state:
            raise RuntimeError("Capture must end on the same stream it began on.")
        self._stream = None
        try:
            self._graph = began_on.end_capture()
        except BaseException:
            self._let_go()
            raise
        if not self._graph.graph.nodes:
            warnings.warn(
                "The CUDA Graph is empty. This usually means that the graph was attempted to be captured on wrong"
                " device or stream.",
                stacklevel=2,
            )

    def instantiate(self) -> None:
        """There is nothing to do."""
        self._captured("instantiate")

    def replay(self) -> None:
        """Enqueue it on the current stream; in a backward pass on that of the forward operation."""
        runtime, graph = self._usable(), self._captured("replay")
        stream = backward.stream(runtime, runtime.simulator.current_index, ())
        touched = (stream, *graph.footprint)
        runtime.step("replay", writes=touched)
        graph.enqueue(stream)
        runtime.driver.touch(writes=touched)
        if stream.last is not None:
            backward.made(stream.last, graph.graph.writes, runtime)

    def reset(self) -> None:
        """Forget what was captured."""
        if self._graph is not None:
            self._graph = None
            self._let_go()

    def pool(self) -> Handle:
        """The name of the pool that its memory comes from."""
        self._captured("pool")
        assert self._pool is not None
        return self._pool.handle

    def enable_debug_mode(self) -> None:
        """There is nothing to do."""

    def debug_dump(self, debug_path: str) -> None:
        """What it consists of, a line a node."""
        graph = self._captured("debug_dump").graph
        with open(debug_path, "w", encoding="utf-8") as file:
            for number, node in enumerate(graph.nodes):
                file.write(f"{number} {node.label} on {node.stream} after {', '.join(map(str, node.after)) or '-'}\n")

    def raw_cuda_graph(self) -> int:
        """Refused."""
        raise NotSimulated("CUDAGraph.raw_cuda_graph(): there is no cudaGraph_t on a simulated device")

    raw_cuda_graph_exec = raw_cuda_graph

    def __del__(self) -> None:
        if getattr(self, "_pool", None) is not None:
            self._let_go()

    def _captured(self, call: str) -> SimGraph:
        if self._graph is None:
            raise RuntimeError(f"Called CUDAGraph::{call} without a preceding successful capture.")
        return self._graph

    def _let_go(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.users -= 1

    def _usable(self) -> Runtime:
        runtime = session.runtime()
        if runtime is not self._runtime:
            raise SimulationOver("this graph belongs to a simulate() block that has ended")
        return runtime


class graph:  # noqa: N801 - its name
    """`torch.cuda.graph(...)`: what is enqueued in the block goes into a graph."""

    default_capture_stream: ClassVar[Any] = None

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: Handle | None = None,
        stream: Any = None,
        capture_error_mode: str = "global",
        enable_annotations: bool = False,
        check_input_liveness: bool = False,
    ) -> None:
        if enable_annotations:
            raise NotSimulated("torch.cuda.graph(enable_annotations=True): the names of kernels come from CUPTI")
        cls = type(self)
        if stream is None:
            default = cls.default_capture_stream
            if default is None or default.simulator is not session.runtime().simulator:
                cls.default_capture_stream = streams.CudaStream()
            stream = cls.default_capture_stream
        self.pool: tuple[Handle] | tuple[()] = () if pool is None else (pool,)
        self.capture_stream = stream
        self.stream_ctx = streams.StreamContext(stream)
        self.cuda_graph = cuda_graph
        self.capture_error_mode = capture_error_mode
        self.check_input_liveness = check_input_liveness

    def __enter__(self) -> None:
        torch.cuda.synchronize()
        if torch.compiler.config.force_cudagraph_gc:
            gc.collect()
        torch.cuda.empty_cache()
        self.stream_ctx.__enter__()
        pool = self.pool[0] if self.pool else None
        self.cuda_graph.capture_begin(
            pool, capture_error_mode=self.capture_error_mode, check_input_liveness=self.check_input_liveness
        )

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.cuda_graph.capture_end()
        except BaseException:
            session.runtime().keep(self.stream_ctx)  # as torch has it: the stream stays the current one
            raise
        self.stream_ctx.__exit__(*exc_info)


class Graph(CUDAGraph):
    """`torch.accelerator.Graph`: `with stream, graph:` captures."""

    def __init__(
        self, keep_graph: bool = False, *, pool: Handle | None = None, capture_error_mode: str = "default"
    ) -> None:
        super().__init__(keep_graph)
        self.graph_pool = pool
        self.capture_error_mode = capture_error_mode

    def capture_begin(self, *args: Any, **kwargs: Any) -> None:
        """From now on what is enqueued on the current stream goes into this graph."""
        mode = "global" if self.capture_error_mode == "default" else self.capture_error_mode
        super().capture_begin(*args, **{"pool": self.graph_pool, "capture_error_mode": mode, **kwargs})

    def __enter__(self) -> None:
        torch.accelerator.synchronize()
        if torch.compiler.config.force_cudagraph_gc:
            gc.collect()
        torch.accelerator.empty_cache()
        self.capture_begin()

    def __exit__(self, *exc_info: object) -> None:
        self.capture_end()


def _current(runtime: Runtime) -> SimStream:
    return runtime.simulator.current_stream(runtime.simulator.current_index)
