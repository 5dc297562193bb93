"""Unmodified PyTorch on the simulated GPU.

    with cpugpu.simulate():
        x = torch.ones(4, device="cuda")        # on any machine

Inside the block `torch.cuda` is there, with the streams, events and memory of the simulated device: operations are
queued on the current stream and run when it gets there, so that a missing wait really reads stale memory.
"""

from cpugpu.simulate.block import simulate

__all__ = ["simulate"]
