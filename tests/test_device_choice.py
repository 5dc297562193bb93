"""Which device a name, an object or nothing means."""

from __future__ import annotations

from typing import Any

import pytest

from cpugpu import CpuGpuEvent, device
from cpugpu.device import find_accelerator, resolve, using
from cpugpu.device.host import HostDevice

NO_ACCELERATOR = pytest.mark.skipif(find_accelerator() is not None, reason="there is an accelerator here")


@NO_ACCELERATOR
def test_auto_is_the_host_where_there_is_no_accelerator() -> None:
    assert resolve().name == "host"


@NO_ACCELERATOR
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "xpu"])
def test_an_accelerator_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match="there is no accelerator here; allowed are 'host' and 'sim'"):
        CpuGpuEvent(name)


@NO_ACCELERATOR
def test_the_setting_insists_on_an_accelerator_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPUGPU_DEVICE", "accelerator")
    with pytest.raises(ValueError, match="CPUGPU_DEVICE=accelerator, and there is none here"):
        CpuGpuEvent()


@pytest.mark.parametrize("name", ["", "the gpu", "sim:", "sim:x", "Sim", "sim:-1"])
def test_a_name_that_means_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="is no device; allowed is"):
        resolve(name)


def test_a_simulated_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="'sim:2' was asked for and there are 2"):
        resolve("sim:2")


@pytest.mark.parametrize("thing", [7, 1.5, object(), ["host"], HostDevice, CpuGpuEvent("host")])
def test_a_thing_that_is_no_device(thing: Any) -> None:
    with pytest.raises(TypeError, match="is no device; allowed is"):
        resolve(thing)


def test_names_and_devices_are_taken(sim: Any) -> None:
    assert resolve("host").name == resolve("cpu").name == "host"
    assert resolve("sim:1").name == "sim:1"
    assert resolve(sim) is sim


def test_torch_devices_are_taken() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert resolve(torch.device("cpu")).name == "host"


def test_a_runner_s_device_is_what_none_means(sim: Any) -> None:
    with using(sim):
        assert resolve() is sim
        assert resolve("host").name == "host"
    assert resolve() is not sim


def test_the_host_takes_torch_s_stand_in_for_a_stream() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ready = CpuGpuEvent("host")
    ready.record(torch.cpu.current_stream())
    ready.wait(torch.cpu.Stream())


def test_every_device_has_the_whole_seam(sim: Any) -> None:
    """The accelerator's class is checked in test_accelerator.py, which needs torch."""
    names = [name for name in vars(device.Device) if not name.startswith("_")]
    for each in (resolve("host"), sim):
        assert [name for name in names if not hasattr(each, name)] == []


def test_the_host_runs_what_is_launched_at_once() -> None:
    host = resolve("host")
    stream, source, target, wrong = host.stream(), host.buffer(3, 4), host.buffer(0, 4), host.buffer(0)
    host.copy(source, target, stream)
    host.add(target, 1, stream)
    host.mismatches(target, 4, wrong, stream)
    host.mismatches(target, 5, wrong, stream)
    assert host.read(target) == (4, 4, 4, 4)
    assert host.read(wrong) == (4,)
    host.launch(stream, lambda elements: elements.reverse(), writes=[target])
    host.fill(target, 9, stream)
    assert host.read(target) == (9, 9, 9, 9)
    assert stream.query()
    assert host.synchronize()
