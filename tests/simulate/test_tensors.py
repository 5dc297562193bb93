"""What a program does with tensors beside computing: views, `out=`, indexing, saving, copying, printing, asking."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from cpugpu.errors import NotSimulated
from cpugpu.simulate import simulate

HOST = torch.arange(12.0).reshape(3, 4)


@pytest.fixture(autouse=True)
def simulation() -> Iterator[Any]:
    with simulate(seed=1) as runtime:
        yield runtime


@pytest.fixture
def device_tensor() -> torch.Tensor:
    return HOST.cuda()


def same(device: torch.Tensor, host: torch.Tensor) -> bool:
    return device.is_cuda and device.shape == host.shape and torch.equal(device.cpu(), host)


INDICES: list[Any] = [
    0, -1, slice(None, None, 2), (slice(None), 1), None, ..., (..., None, 0), [0, 2], (slice(None), [1, 0]),
    torch.tensor([0, 2]), (torch.tensor([0, 2]), torch.tensor([1, 3])), HOST > 3, (HOST[:, 0] > 3), (0, 0),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_reads_and_writes_the_same(index: Any, device_tensor: torch.Tensor) -> None:
    assert same(device_tensor[index], HOST[index])
    on_device = index.cuda() if isinstance(index, torch.Tensor) else index
    assert same(device_tensor[on_device], HOST[index])
    expected = HOST.clone()
    expected[index] = 7.0
    device_tensor[on_device] = 7.0
    assert same(device_tensor, expected)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.t(), lambda x: x[1:], lambda x: x.view(2, 6), lambda x: x.unbind(1)[2], lambda x: x.chunk(2, 1)[1],
        lambda x: x.split([1, 2])[1], lambda x: x.diagonal(), lambda x: x.as_strided((2, 2), (4, 1), 1),
        lambda x: x.unsqueeze(0), lambda x: x.permute(1, 0)[::2], lambda x: x.narrow(1, 1, 2), torch.Tensor.detach,
    ],
)  # fmt: skip
def test_a_view_and_its_base_see_each_others_writes(
    view: Callable[[torch.Tensor], torch.Tensor], device_tensor: torch.Tensor
) -> None:
    for tensor in (host := HOST.clone(), device_tensor):
        part = view(tensor)
        part.add_(100)
        tensor.mul_(2)
    assert same(device_tensor, host)
    assert same(view(device_tensor), view(host))
    assert view(device_tensor).data_ptr() - device_tensor.data_ptr() == view(host).data_ptr() - host.data_ptr()


def test_out_is_filled_and_gets_the_size_of_the_result(device_tensor: torch.Tensor) -> None:
    right, wrong = torch.empty(3, 4, device="cuda"), torch.empty(0, device="cuda")
    assert torch.add(device_tensor, 1, out=right) is right
    torch.add(device_tensor, 1, out=wrong)
    assert same(right, HOST + 1)
    assert same(wrong, HOST + 1)
    values, places = torch.empty(3, device="cuda"), torch.empty(3, dtype=torch.long, device="cuda")
    torch.max(device_tensor, 1, out=(values, places))
    assert same(values, HOST.max(1).values)
    assert same(places, HOST.max(1).indices)


def test_resize_set_and_data(device_tensor: torch.Tensor) -> None:
    device_tensor.resize_(2, 2)
    assert same(device_tensor, HOST.flatten()[:4].view(2, 2))
    device_tensor.resize_(100, 100)
    assert same(device_tensor.flatten()[:4], HOST.flatten()[:4])
    other = torch.zeros(1, device="cuda")
    other.set_(device_tensor)
    device_tensor.fill_(3)
    assert same(other, torch.full((100, 100), 3.0))
    parameter = torch.nn.Parameter(HOST.cuda())
    parameter.data = parameter.data * 2
    parameter.data.add_(1)
    assert same(parameter.detach(), HOST * 2 + 1)


MIXED: list[Callable[[torch.Tensor], Any]] = [
    lambda x: x + HOST, lambda x: x + torch.ones(3, 4), lambda x: torch.cat([x, HOST]), lambda x: x.add_(HOST),
    lambda x: torch.stack([x, torch.ones(3, 4)]), lambda x: torch.mm(x, torch.ones(4, 4)),
    lambda x: torch.where(x > 0, x, HOST),
]  # fmt: skip


@pytest.mark.parametrize("call", MIXED)
def test_tensors_of_host_and_device_do_not_mix(
    call: Callable[[torch.Tensor], Any], device_tensor: torch.Tensor
) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        call(device_tensor)


def test_numbers_of_the_host_take_part(device_tensor: torch.Tensor) -> None:
    assert same(device_tensor + torch.tensor(2.0), HOST + 2)
    whole = torch.arange(3)
    for value in (1, 1.5, True, torch.tensor(1.5, dtype=torch.float64), torch.tensor(2)):
        assert (whole.cuda() + value).dtype == (whole + value).dtype
        assert (HOST.cuda().half() * value).dtype == (HOST.half() * value).dtype


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.float64])
@pytest.mark.parametrize("make", [lambda: HOST, HOST.t, lambda: HOST[:0], lambda: HOST[0].expand(2, 4)])
def test_every_type_and_layout_goes_there_and_back(make: Callable[[], torch.Tensor], dtype: torch.dtype) -> None:
    host = make().to(dtype)
    device = host.cuda()
    assert device.dtype == dtype
    assert device.stride() == torch.empty_like(host).stride()
    assert torch.equal(device.cpu(), host)
    assert torch.equal((device + device).cpu(), host + host)


def test_random_numbers_are_those_of_the_host() -> None:
    for draw in (
        lambda device: torch.randn(5, device=device),
        lambda device: torch.zeros(5, device=device).normal_(),
        lambda device: torch.zeros(5, device=device).uniform_(),
        lambda device: torch.rand_like(torch.zeros(5, device=device)),
        lambda device: torch.randperm(9, device=device),
        lambda device: torch.nn.functional.dropout(torch.ones(99, device=device)),
    ):
        torch.manual_seed(1)
        expected = draw("cpu")
        torch.manual_seed(1)
        assert same(draw("cuda"), expected)
    generator = torch.Generator(device="cuda").manual_seed(3)
    assert torch.randn(2, device="cuda", generator=generator).is_cuda
    state = torch.cuda.get_rng_state()
    first = torch.randn(3, device="cuda")
    torch.cuda.set_rng_state(state)
    assert same(torch.randn(3, device="cuda"), first.cpu())


def test_saving_loading_pickling_and_copying(device_tensor: torch.Tensor) -> None:
    restored = pickle.loads(pickle.dumps(device_tensor))
    assert same(restored, HOST)
    module = torch.nn.Linear(4, 2).cuda()
    for saved in ({"a": device_tensor, "b": [device_tensor[0]]}, module.state_dict()):
        file = io.BytesIO()
        torch.save(saved, file)
        for place, is_cuda in ((None, True), ("cpu", False), ("cuda", True), (torch.device("cuda:0"), True)):
            file.seek(0)
            loaded = torch.load(file, map_location=place)
            for name, kept in saved.items():
                value, found = (kept[0], loaded[name][0]) if isinstance(kept, list) else (kept, loaded[name])
                assert found.is_cuda == is_cuda
                assert torch.equal(found.cpu(), value.cpu())
    module.load_state_dict(loaded)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        twin.weight.zero_()
    assert isinstance(twin.weight, torch.nn.Parameter)
    assert module.weight.abs().sum() > 0


def test_a_file_of_the_host_is_loaded_to_the_device() -> None:
    file = io.BytesIO()
    torch.save({"x": HOST, "n": 3}, file)
    file.seek(0)
    assert same(torch.load(file, map_location="cuda")["x"], HOST)


def test_looking_at_it(device_tensor: torch.Tensor) -> None:
    assert repr(device_tensor[0]) == "tensor([0., 1., 2., 3.], device='cuda:0')"
    assert f"{device_tensor[0, 1]:.2f}" == "1.00"
    assert repr(torch.nn.Parameter(device_tensor[0])).startswith("Parameter containing:\ntensor([0., 1., 2., 3.]")
    assert "grad_fn=<MulBackward0>" in repr(device_tensor.requires_grad_() * 2)
    assert device_tensor.type() == "torch.cuda.FloatTensor"
    assert bool(device_tensor[0, 1])
    assert int(device_tensor[0, 2]) == 2
    assert 3.0 in device_tensor
    assert [each.tolist() for each in device_tensor] == HOST.tolist()
    assert device_tensor.detach().untyped_storage().data_ptr() == device_tensor.data_ptr()
    assert torch.equal(torch.tensor([device_tensor[0, 1].detach(), 2.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        device_tensor.numpy()


def test_assert_close_compares_devices_and_values(device_tensor: torch.Tensor) -> None:
    torch.testing.assert_close(device_tensor, device_tensor.clone())
    torch.testing.assert_close(device_tensor, HOST, check_device=False)
    with pytest.raises(AssertionError, match="device"):
        torch.testing.assert_close(device_tensor, HOST)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(device_tensor, device_tensor + 1)


def test_default_device() -> None:
    with torch.device("cuda"):
        assert torch.zeros(2).is_cuda
        assert torch.nn.Linear(2, 2).weight.is_cuda
    assert not torch.zeros(2).is_cuda


def test_sparse_tensors_are_refused(device_tensor: torch.Tensor) -> None:
    with pytest.raises(NotSimulated, match="sparse"):
        device_tensor.to_sparse()


def test_what_depends_on_data_waits_for_it(device_tensor: torch.Tensor) -> None:
    torch.cuda._sleep(30_000_000)
    device_tensor.add_(1)
    assert same(device_tensor.nonzero(), (HOST + 1).nonzero())
    assert same(device_tensor[device_tensor > 5], (HOST + 1)[HOST + 1 > 5])
    assert same(device_tensor.unique(), (HOST + 1).unique())
