"""The training that all three searches share: a small convolutional network on the first images of MNIST.

It knows none of the tools. MNIST names a folder of MNIST's IDX files.
"""

import gzip
import json
import os
import time
from pathlib import Path

import torch
from torch import nn

IMAGES = 1000


def read(name, header, size):
    data = gzip.decompress((Path(os.environ["MNIST"]) / name).read_bytes())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=header, count=(IMAGES + 1000) * size)


class Training:
    """One training, epoch by epoch."""

    def __init__(self, lr, optimizer, amp, seed=1):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        images = read("train-images-idx3-ubyte.gz", 16, 28 * 28).reshape(-1, 1, 28, 28).float() / 255
        labels = read("train-labels-idx1-ubyte.gz", 8, 1).long()
        self.train, self.val = (images[:IMAGES], labels[:IMAGES]), (images[IMAGES:], labels[IMAGES:])
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr, momentum=0.9)
        self.seed, self.amp, self.epoch = seed, amp, 0
        self.name = f"lr={lr} optimizer={optimizer} amp={amp}"

    def train_epoch(self):
        """Train one epoch, and return the accuracy on the validation images."""
        self.epoch += 1
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(1000 * self.seed + self.epoch))
        for batch in order.split(64):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
                loss = nn.functional.cross_entropy(self.model(self.train[0][batch]), self.train[1][batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            accuracy = (self.model(self.val[0]).argmax(1) == self.val[1]).float().mean().item()
        if log := os.environ.get("EPOCHS"):  # What measure.py counts.
            with open(log, "a") as file:
                line = {"pid": os.getpid(), "time": time.time(), "name": self.name, "epoch": self.epoch}
                file.write(json.dumps({**line, "val_acc": accuracy}) + "\n")
        return accuracy

    def save(self, folder):
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}
        torch.save(state, Path(folder) / "state.pt")

    def load(self, folder):
        state = torch.load(Path(folder) / "state.pt")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
