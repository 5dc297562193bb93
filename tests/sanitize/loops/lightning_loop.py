"""Lightning's `Trainer`: training and validation, metrics that it logs, a checkpoint at the end of each epoch."""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        values, targets = batch
        loss = nn.functional.cross_entropy(self.layers(values), targets)
        self.log("loss", loss, on_step=True, on_epoch=True)
        print(repr(loss.item()))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        values, targets = batch
        assert values.is_cuda is torch.cuda.is_available()
        self.log("validation", nn.functional.cross_entropy(self.layers(values), targets))

    def on_validation_epoch_end(self) -> None:
        print(repr(self.trainer.callback_metrics["validation"].item()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def main() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(64, 8), torch.randint(0, 3, (64,)))
    pin = torch.cuda.is_available()
    training = DataLoader(data, batch_size=16, shuffle=True, num_workers=2, pin_memory=pin)
    validation = DataLoader(data, batch_size=32, num_workers=2, pin_memory=pin)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="auto",
            devices=1,
            gradient_clip_val=1.0,
            default_root_dir=folder,
            logger=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Classifier(), training, validation)


if __name__ == "__main__":
    main()
