"""A tensor on a simulated device: memory of the host, whose operations run when their stream gets there.

To torch's C++ a `SimTensor` is a CPU tensor: sizes, strides, views and autograd are torch's own. To Python its device
is `cuda:N`. Whatever operation torch comes down to arrives in `__torch_dispatch__`, which `dispatch` provides. What
torch does in C++ *without* an operation, because it takes the memory to be the host's, is overridden here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from cpugpu.device.simulated.model import StreamState
from cpugpu.errors import NotSimulated
from cpugpu.simulate.memory import Block, Layout, layout_of

if TYPE_CHECKING:
    from cpugpu.simulate.runtime import Runtime

_make_subclass: Any = torch.Tensor._make_subclass  # noqa: SLF001 - torch's way to make one


class SimTensor(torch.Tensor):
    """A tensor on a simulated device. Made by `wrap` only."""

    #: The same memory as a tensor of the host. Only kernels, and who has waited for them, may look.
    _raw: torch.Tensor
    _block: Block
    _layout: Layout
    #: Where the operation that made it went, and where gradients of it come together. Only while streams are in use.
    _made_on: StreamState | None = None
    _accumulates_on: StreamState
    __torch_dispatch__: ClassVar[Any]  # type: ignore[misc]
    __torch_function__: Any = torch._C._disabled_torch_function_impl  # noqa: SLF001

    @property
    def _runtime(self) -> Runtime:
        return self._block.runtime

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The simulated device."""
        return torch.device("cuda", self._block.index)

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """Yes."""
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        """No."""
        return False

    def get_device(self) -> int:
        """The number of its device."""
        return self._block.index

    def is_pinned(self, device: Any = None) -> bool:  # noqa: ARG002
        """No: only memory of the host is."""
        return False

    def is_shared(self) -> bool:
        """As torch says of CUDA tensors."""
        return True

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        host = self.detach().cpu()
        text = ("Parameter containing:\n" if is_parameter(self) else "") + repr(host)[:-1]
        suffix = f", device='{self.device}'"
        if self.grad_fn is not None:
            return f"{text}{suffix}, grad_fn=<{type(self.grad_fn).__name__}>)"
        return f"{text}{suffix}{', requires_grad=True' if self.requires_grad else ''})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    # -- reading it: the host waits for the current stream -------------------------------------------------------------

    def item(self) -> Any:
        """The value, once the current stream has come so far."""
        return moves.to_host(self, non_blocking=False).item()

    def tolist(self) -> Any:
        """The values, once the current stream has come so far."""
        return moves.to_host(self, non_blocking=False).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as torch refuses it, unless `force`."""
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host"
                " memory first."
            )
        return self.detach().cpu().numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise NotSimulated(
            f"a tensor on the simulated {self.device} has no DLPack capsule: its memory is no CUDA memory. Use .cpu()"
        )

    @property
    def __cuda_array_interface__(self) -> Any:
        raise AttributeError("a tensor on a simulated device has no CUDA memory to show")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user support the deepcopy protocol at the moment"
            )
        with torch.no_grad():
            copy: Any = self.detach().clone()
        if isinstance(self, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, requires_grad=self.requires_grad)
        else:
            copy.requires_grad_(self.requires_grad)
        if self.grad is not None:
            copy.grad = self.grad.__deepcopy__(memo)
        memo[id(self)] = copy
        return copy

    def type(self, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:  # noqa: ARG002
        """The name of its type, or a copy that has another one."""
        if dtype is None:
            return f"torch.cuda.{type_name(self.dtype)}"
        if isinstance(dtype, torch.dtype):
            return self.to(dtype)
        return self.to(torch.empty(0).type(str(dtype).replace("torch.cuda.", "torch.")).dtype)

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = self.detach()
        if is_parameter(self):
            return torch._utils._rebuild_parameter, (plain, self.requires_grad, OrderedDict())  # noqa: SLF001
        # As torch saves tensors whose storage it does not know: such a file can be loaded without cpugpu, too.
        values = (plain.cpu(), self.dtype, str(self.device), self.requires_grad)
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, values  # noqa: SLF001

    # -- moving it -----------------------------------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As `torch.Tensor.to`."""
        return moves.to(self, *args, **kwargs)

    def cpu(self, memory_format: torch.memory_format = torch.preserve_format) -> torch.Tensor:
        """A copy on the host, once the current stream has come so far."""
        return moves.to(self, "cpu", memory_format=memory_format)

    def cuda(
        self,
        device: Any = None,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> torch.Tensor:
        """Itself, or a copy on another device."""
        return moves.cuda(self, device, non_blocking, memory_format)

    def pin_memory(self, device: Any = None) -> torch.Tensor:  # noqa: ARG002
        """Refused, as torch refuses it."""
        raise RuntimeError(f"cannot pin 'torch.cuda.{type_name(self.dtype)}' only dense CPU tensors can be pinned")

    @property
    def grad(self) -> torch.Tensor | None:
        """The gradient. Some of torch's C++ makes zeros on the host."""
        found: torch.Tensor | None = _get_grad(self)
        if found is not None and not isinstance(found, SimTensor):
            found = moves.filled(found.detach(), self._block.index)
            _set_grad(self, found)
        return found

    @grad.setter
    def grad(self, new: torch.Tensor | None) -> None:
        if new is not None and new.device != self.device:
            raise RuntimeError(
                f"attempting to assign a gradient with device type '{new.device.type}' to a tensor with device type"
                " 'cuda'. Please ensure that the gradient and the tensor are on the same device"
            )
        _set_grad(self, new)

    @grad.deleter
    def grad(self) -> None:
        _set_grad(self, None)

    def record_stream(self, stream: Any) -> None:
        """When the last tensor with this memory is gone, wait for the work that `stream` holds then."""
        runtime = self._runtime
        runtime.check()
        runtime.step("record_stream")
        self._block.use_on(stream.state)

    @property
    def data(self) -> torch.Tensor:
        """The same without history."""
        return self.detach()

    @data.setter
    def data(self, new: torch.Tensor) -> None:
        if not isinstance(new, SimTensor):
            raise RuntimeError(
                "Attempted to call `variable.set_data(tensor)`, but `variable` and `tensor` have incompatible tensor"
                " type."
            )
        _set_data(self, new)
        self._raw, self._block, self._layout = new._raw, new._block, new._layout


def wrap(raw: torch.Tensor, block: Block, layout: Layout | None = None, made_on: StreamState | None = None) -> Any:
    """A tensor on the device of `block`, whose memory `raw` shows. `made_on`: the stream, if not the current one."""
    # `data`, for it counts changes of its own: what kernels do to `raw` is none of autograd's business.
    runtime = block.runtime
    tensor = _make_subclass(runtime.tensor_class or SimTensor, raw.data)
    tensor._raw = raw
    tensor._block = block
    tensor._layout = layout or layout_of(raw)
    if runtime.simulator.switched:
        tensor._made_on = made_on or runtime.current(block.index)
    return tensor


def is_parameter(tensor: torch.Tensor) -> bool:
    """Is it an `nn.Parameter`?"""
    return isinstance(tensor, torch.nn.Parameter)


def type_name(dtype: torch.dtype) -> str:
    """`FloatTensor` for float32, and so on."""
    return torch.empty(0, dtype=dtype, device="cpu").type().removeprefix("torch.")


_torch: Any = torch.Tensor
_get_grad: Any = _torch.grad.__get__
_set_grad: Any = _torch.grad.__set__
_set_data: Any = _torch.data.__set__


from cpugpu.simulate import moves  # noqa: E402 - it needs the class
