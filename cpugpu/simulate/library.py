"""Parts of torch's Python library that ask its C++ about a device: `torch.load`, autocast, the state of generators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from cpugpu.simulate import moves, session
from cpugpu.simulate.tensor import SimTensor


def load(original: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of `torch.load`: with a simulated `map_location` it loads to the host, and moves."""

    @functools.wraps(original)
    def double(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(map_location, str | torch.device) or torch.device(map_location).type != "cuda":
            return original(f, map_location, *args, **kwargs)
        return _moved(original(f, "cpu", *args, **kwargs), moves.device_for(map_location))

    return double


def _moved(value: Any, device: torch.device) -> Any:
    """The same, with its tensors on a device. Containers stay the objects that they are."""
    if isinstance(value, torch.Tensor):
        moved = value.detach().to(device)
        if isinstance(value, torch.nn.Parameter):
            return torch.nn.Parameter(moved, value.requires_grad)
        return moved.requires_grad_(value.requires_grad)
    if isinstance(value, torch.nn.Module):
        return value.to(device)
    if isinstance(value, dict):
        for key in value:
            value[key] = _moved(value[key], device)
    elif isinstance(value, list):
        value[:] = [_moved(each, device) for each in value]
    elif type(value) is tuple:
        return tuple(_moved(each, device) for each in value)
    return value


def where_its_argument_is(original: Callable[..., Any]) -> Callable[..., Any]:
    """What takes the place of a function whose C++ makes its result where it takes the argument to be: on the host."""

    @functools.wraps(original)
    def double(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if args and isinstance(args[0], SimTensor) and not isinstance(result, SimTensor) and "out" not in kwargs:
            return result.to(args[0].device)
        return result

    return double


def enter_autocast(original: Callable[..., Any]) -> Callable[..., Any]:
    """`autocast.__enter__`. A tensor on a simulated device is one of the CPU to C++, so autocast is on for both."""

    @functools.wraps(original)
    def double(self: Any) -> Any:
        before = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        entered = original(self)
        if self.device == "cuda":
            self._cpugpu_before = [*getattr(self, "_cpugpu_before", ()), before]
            torch.set_autocast_enabled("cpu", torch.is_autocast_enabled("cuda"))
            torch.set_autocast_dtype("cpu", torch.get_autocast_dtype("cuda"))
        return entered

    return double


def exit_autocast(original: Callable[..., Any]) -> Callable[..., Any]:
    """`autocast.__exit__`."""

    @functools.wraps(original)
    def double(self: Any, *exc_info: object) -> Any:
        if getattr(self, "_cpugpu_before", None):
            enabled, dtype = self._cpugpu_before.pop()
            torch.set_autocast_enabled("cpu", enabled)
            torch.set_autocast_dtype("cpu", dtype)
        return original(self, *exc_info)

    return double


def generator(original: Any) -> Callable[..., Any]:
    """What takes the place of `torch.Generator`: random numbers of a simulated device are drawn on the host."""

    def double(device: Any = "cpu") -> Any:
        return original("cpu" if torch.device(device).type == "cuda" else device)

    return double


def get_rng_state(device: Any = "cuda") -> torch.Tensor:  # noqa: ARG001
    """Of the one generator, which is the host's."""
    return torch.get_rng_state()


def set_rng_state(new_state: torch.Tensor, device: Any = "cuda") -> None:  # noqa: ARG001
    """Of the one generator, which is the host's."""
    torch.set_rng_state(new_state)


def get_rng_state_all() -> list[torch.Tensor]:
    """One for each device, all alike."""
    return [torch.get_rng_state() for _ in range(session.runtime().simulator.device_count)]


def set_rng_state_all(new_states: list[torch.Tensor]) -> None:
    """They are all alike."""
    for state in new_states:
        torch.set_rng_state(state)
