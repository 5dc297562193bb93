"""What a program may say of kernels that cannot be seen: raw Triton, an extension, another library's streams."""

from __future__ import annotations

from typing import Any

import torch

from cpugpu.sanitize import session


def annotate_read(tensor: torch.Tensor, stream: Any = None) -> None:
    """A kernel that was put on `stream` just now reads `tensor`.

    All bytes that the tensor has are meant: give a view for a part. `stream` is one of torch's; None is the calling
    thread's current one of the tensor's device. For a tensor of the host `stream` is who reads it
    (an asynchronous copy, a kernel with mapped memory), and None the calling thread itself. Nothing happens while
    nobody watches. `TypeError` for what is no tensor or no stream.
    """
    _annotate("annotate_read", tensor, stream, writes=False)


def annotate_write(tensor: torch.Tensor, stream: Any = None) -> None:
    """The same for a kernel that writes to `tensor`. One that does both is a write."""
    _annotate("annotate_write", tensor, stream, writes=True)


def _annotate(name: str, tensor: object, stream: Any, *, writes: bool) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}() takes a tensor, not {type(tensor).__name__}")
    if stream is not None and not hasattr(stream, "device_index"):
        raise TypeError(f"{name}(stream=) takes a stream of torch's, or None, not {type(stream).__name__}")
    on = session.current()
    if on is not None:
        on.watch.annotated(tensor, stream, writes=writes)
