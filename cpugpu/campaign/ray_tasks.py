"""Shards as tasks of a Ray cluster.

A task watches the process of its shard as `LocalProcesses` does here, so what a shard does to itself is told in the
same words. A worker or a machine that dies under a task is Ray's to notice: it runs the task again elsewhere. The
machines of the cluster need cpugpu, and the scenarios at the same paths.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from cpugpu.campaign import work
from cpugpu.campaign.local import SILENCE_SECONDS, LocalProcesses
from cpugpu.campaign.results import Entry, Fault, Shard
from cpugpu.campaign.work import Progress
from cpugpu.errors import BadInput

#: How often Ray runs a task again whose worker has died.
_RETRIES = 3
_ANSWER_SECONDS = 5.0

_local: LocalProcesses | None = None


class RayTasks:
    """Runs up to `width` shards at once on the cluster at `address`, a GPU each with `gpu`, else a CPU each.

    `address`: `auto` for the cluster that this machine belongs to, `HOST:PORT`, or `local` for one that is started here
    and ended with this object. `BadInput` where Ray is not installed or nobody answers. `width` None: as many as the
    cluster has room for. `silence`: as of `LocalProcesses`.
    """

    def __init__(
        self, address: str, *, width: int | None = None, gpu: bool = False, silence: float = SILENCE_SECONDS
    ) -> None:
        self._ray = _connect(address)
        resources = self._ray.cluster_resources()
        kind = "GPU" if gpu else "CPU"
        room = int(resources.get(kind, 0))
        if not room:
            self._ray.shutdown()
            raise BadInput(f"--stress-ray={address}: the cluster has no {kind}")
        self.width = width or room
        needs = {"num_gpus": 1, "num_cpus": 0} if gpu else {"num_cpus": 1}
        self._task: Any = self._ray.remote(max_retries=_RETRIES, **needs)(_watch)
        self._silence = silence
        self._shards: dict[Any, Shard] = {}

    def submit(self, shard: Shard) -> None:
        """Queue a shard. It may run on a machine that cannot write where this one does, so its result comes here."""
        self._shards[self._task.remote(replace(shard, results=""), self._silence)] = shard

    def events(self, timeout: float) -> list[Progress | Entry]:
        """The shards that have ended; waits for up to `timeout` seconds for the first."""
        ended, _ = self._ray.wait(list(self._shards), num_returns=1, timeout=timeout)
        return [self._entry(reference) for reference in ended]

    def close(self) -> None:
        """Cancel what still runs, and leave the cluster."""
        for reference in self._shards:
            self._ray.cancel(reference, force=True)
        self._shards.clear()
        self._ray.shutdown()

    def _entry(self, reference: Any) -> Entry:
        shard = self._shards.pop(reference)
        try:
            told: Entry = self._ray.get(reference)
            entry = replace(told, shard=replace(told.shard, results=shard.results))
        except self._ray.exceptions.OutOfMemoryError as error:
            entry = Entry(shard, None, Fault("out of memory", _first_line(error)), shard.replay)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError) as error:
            what = f"its worker died {_RETRIES + 1} times: {_first_line(error)}"
            entry = Entry(shard, None, Fault("killed", what), shard.replay)
        except self._ray.exceptions.RayError as error:
            entry = Entry(shard, None, Fault("crashed", _first_line(error), str(error)), shard.replay)
        return work.keep(entry)


def _watch(shard: Shard, silence: float) -> Entry:
    """In a worker of the cluster: run a shard in a process of its own and watch it."""
    global _local
    if _local is None:  # kept from task to task, with the server that it forks from
        _local = LocalProcesses(1, silence=silence)
    _local.submit(shard)
    while True:
        for event in _local.events(1.0):
            if isinstance(event, Entry):
                return event


def _connect(address: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BadInput(f"--stress-ray={address} needs Ray: pip install 'cpugpu[ray]'") from error
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False, "configure_logging": False}
    if address == "local":
        ray.init(address="local", include_dashboard=False, **quiet)
        return ray
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if address != "auto":  # Ray itself would try for a minute, and end the process
            socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"--stress-ray={address}: nobody answers ({_first_line(error)});"
            " allowed are auto on a machine of the cluster, HOST:PORT of its head, and local"
        ) from error
    return ray


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
