"""Defects of the simulator and of the explorer that the snippets have met."""

from __future__ import annotations

import torch

from cpugpu import scenario
from cpugpu.explore import VerdictKind, explore
from cpugpu.simulate import simulate


def test_whether_memory_can_be_used_again_is_a_matter_of_the_schedule() -> None:
    """The two ways are two traces, and reduction must not take them for one: what has been waited for by one stream and
    by another has no order between the two.
    """
    seen = set()

    @scenario(accept=["again", "other"])
    def reuse(rig: object) -> str:
        with simulate():
            owner, reader = torch.cuda.Stream(), torch.cuda.Stream()
            with torch.cuda.stream(owner):
                tensor = torch.ones(4, device="cuda")
            reader.wait_stream(owner)
            tensor.record_stream(reader)
            with torch.cuda.stream(reader):
                tensor.mul_(2)
            address = tensor.data_ptr()
            del tensor
            with torch.cuda.stream(owner):
                new = torch.ones(4, device="cuda")
            outcome = "again" if new.data_ptr() == address else "other"
        seen.add(outcome)
        return outcome

    verdict = explore(reuse, seconds=60, strategy="dpor")
    assert verdict.kind is VerdictKind.PROVED, str(verdict)
    assert seen == {"again", "other"}


def test_a_hook_may_enter_a_stream_of_its_own() -> None:
    with simulate():
        forward, side = torch.cuda.Stream(), torch.cuda.Stream()
        streams = []

        def hook(gradient: torch.Tensor) -> None:
            streams.append(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                streams.append(torch.cuda.current_stream())

        with torch.cuda.stream(forward):
            x = torch.ones(4, device="cuda", requires_grad=True)
            y = x * 2
            y.register_hook(hook)
            loss = y.sum()
        loss.backward()
        assert streams == [forward, side]


def test_what_a_copy_has_not_filled_yet_is_the_same_each_time() -> None:
    with simulate():
        torch.cuda._sleep(30_000_000)
        early = torch.zeros(4, device="cuda").to("cpu", non_blocking=True)
        assert early.view(torch.uint8).tolist() == [0x7F] * 16
        torch.cuda.synchronize()
        assert early.tolist() == [0.0] * 4


def test_more_devices_than_the_explorer_has_are_refused() -> None:
    @scenario(accept=["refused"])
    def many(rig: object) -> str:
        try:
            with simulate(devices=3):
                return "entered"
        except RuntimeError:
            return "refused"

    assert explore(many, seconds=10).kind is VerdictKind.PROVED


def test_a_kernel_that_takes_long_takes_no_schedule_away() -> None:
    def traces(cycles: int) -> int | None:
        @scenario
        def two_streams(rig: object) -> int:
            with simulate():
                x = torch.zeros(1, device="cuda")
                torch.cuda.synchronize()
                for number in (1, 2):
                    with torch.cuda.stream(torch.cuda.Stream()):
                        if cycles:
                            torch.cuda._sleep(cycles)
                        x.fill_(number)
                torch.cuda.synchronize()
                return int(x.item())

        return explore(two_streams, seconds=20, strategy="dpor").traces

    assert traces(0) == traces(1000) == 2
