"""Training: gradients, buckets and parameters that are worked on beside the model's stream."""

from __future__ import annotations

import torch

from tests.corpus.registry import LONG, snippet


@snippet("ds#7371", hazards=(18, 19), rounds=6, explored_rounds=2)
def bucket_reused(fixed: bool, rounds: int) -> bool:
    """Gradients are packed into a bucket and all-reduced on a side stream, while the next layers are computed.

    There is one bucket. Before the next gradients are packed into it the side stream has to be done with it. (The
    all-reduce of two ranks with the same gradients doubles them.)
    """
    compute, communication = torch.cuda.current_stream(), torch.cuda.Stream()
    bucket = torch.zeros(4, device="cuda")
    reduced = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    for layer in range(rounds):
        bucket.fill_(layer + 1)
        communication.wait_stream(compute)
        with torch.cuda.stream(communication):
            reduced[layer].copy_(bucket * 2)
            done = communication.record_event()
        if fixed:
            compute.wait_event(done)
    compute.wait_stream(communication)
    return reduced[:, 0].tolist() == [2.0 * (layer + 1) for layer in range(rounds)]


@snippet("ds#7898", hazards=(20,), rounds=6, explored_rounds=2)
def reduced_before_it_is_computed(fixed: bool, rounds: int) -> bool:
    """The all-reduce waits for the default stream, as its author has tried it; the backward pass runs on another."""
    backward, communication = torch.cuda.Stream(), torch.cuda.Stream()
    gradients = torch.zeros(rounds, 4, device="cuda")
    torch.cuda.synchronize()
    for layer in range(rounds):
        with torch.cuda.stream(backward):
            torch.cuda._sleep(LONG)
            gradients[layer].add_(layer + 1)
        communication.wait_stream(backward if fixed else torch.cuda.default_stream())
        with torch.cuda.stream(communication):
            gradients[layer].mul_(2)
    torch.cuda.synchronize()
    return gradients[:, 0].tolist() == [2.0 * (layer + 1) for layer in range(rounds)]


@snippet("ds#5216", hazards=(19, 20), rounds=6, explored_rounds=2)
def parameters_updated_while_they_are_read(fixed: bool, rounds: int) -> bool:
    """A pipelined optimizer: the step runs on a side stream, and the next forward pass begins before it is done."""
    compute, optimizer = torch.cuda.current_stream(), torch.cuda.Stream()
    weight = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    outputs = []
    for _ in range(rounds):
        output = weight * 3
        outputs.append(output)
        gradient = output * 0 + 1
        optimizer.wait_stream(compute)
        with torch.cuda.stream(optimizer):
            weight.add_(gradient)
            gradient.record_stream(optimizer)
        if fixed:
            compute.wait_stream(optimizer)
    torch.cuda.synchronize()
    return [output.tolist()[0] for output in outputs] == [3.0 * (step + 1) for step in range(rounds)]


@snippet("pt#151079", "ds#7898", hazards=(20,), rounds=4, explored_rounds=1)
def hook_on_a_side_stream(fixed: bool, rounds: int) -> bool:
    """A hook scales a gradient on a stream of its own as soon as it is there - by the host's clock.

    The backward pass has only *enqueued* what makes the gradient. The hook's stream has to wait for the one that is
    current in the hook, and the optimizer for the hook's.
    """
    side = torch.cuda.Stream()
    weight = torch.ones(4, device="cuda", requires_grad=True)
    x = torch.ones(4, device="cuda")
    torch.cuda.synchronize()
    scaled = []

    def hook(parameter: torch.Tensor) -> None:
        if fixed:
            side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            scaled.append(parameter.grad * 0.5)

    weight.register_post_accumulate_grad_hook(hook)
    for step in range(rounds):
        weight.grad = None
        (weight * x * (2.0 * (step + 1))).sum().backward()
        torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    return [gradient.tolist()[0] for gradient in scaled] == [step + 1.0 for step in range(rounds)]


@snippet("pt#45787", "pt#151079", hazards=(8,), rounds=4, explored_rounds=1)
def gradients_used_on_another_stream(fixed: bool, rounds: int) -> bool:
    """`backward()` is called on one stream and the gradients are used on another, without a wait in between.

    torch orders the pass behind, and before, the stream that is current where `backward()` is called; no other.
    """
    compute, optimizer = torch.cuda.Stream(), torch.cuda.Stream()
    weight = torch.ones(4, device="cuda", requires_grad=True)
    torch.cuda.synchronize()
    used = []
    for step in range(rounds):
        with torch.cuda.stream(compute):
            weight.grad = None
            (weight * (step + 1.0)).sum().backward()
        if fixed:
            optimizer.wait_stream(compute)
        with torch.cuda.stream(optimizer):
            used.append(weight.grad + 0)
        compute.wait_stream(optimizer)
    torch.cuda.synchronize()
    return [gradient.tolist()[0] for gradient in used] == [step + 1.0 for step in range(rounds)]
