"""A training loop as torch's tutorials write it: worker processes, a thread that pins, copies that do not block."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from cpugpu.sanitize import watching  # noqa: E402
from cpugpu.simulate import simulate  # noqa: E402


def train() -> list[float]:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = TensorDataset(torch.randn(64, 8), torch.randint(0, 3, (64,)))
    loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=2, pin_memory=torch.cuda.is_available())
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        for batch in loader:
            values, targets = (each.to(device, non_blocking=True) for each in batch)
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(values), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own, about forks and threads
def test_it_runs_to_its_end_without_a_false_alarm_and_learns_the_same() -> None:
    expected = train()
    for seed in range(3):
        with simulate(seed=seed), watching() as session:
            assert train() == expected
        assert list(session.model.findings) == []
