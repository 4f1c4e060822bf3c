"""What the servers of the bridge tests build; imported by another process."""

import os
import time

import torch
from torch import nn


class Model(nn.Module):
    """Answers a mapping, a list and the input of an inner layer."""

    def __init__(self, width=4):
        super().__init__()
        self.inner = nn.Linear(3, width)
        self.outer = nn.Linear(width, 1)

    def forward(self, batch, unused=None):
        assert unused is None
        hidden = torch.relu(self.inner(batch["state"]["x"]))
        noise = torch.randn(len(hidden), 2)
        return {"score": self.outer(hidden), "list": [hidden, noise], "several": list(batch["several"])}


def build(width=4):
    torch.manual_seed(7)
    print("building")
    return Model(width)


class Misbehaving(nn.Module):
    """Does what its input says."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)

    def forward(self, batch):
        what = int(batch["what"][0])
        if what == 1:
            os._exit(3)
        if what == 2:
            time.sleep(60)
        if what == 3:
            raise ValueError("the camera is upside down")
        if what == 4:
            return {"score": "a word"}
        if what == 5:
            return {"score": torch.zeros(7, 7)}
        return {"score": torch.zeros(len(batch["what"]), 1)}


def misbehave():
    return Misbehaving()


def broken():
    raise RuntimeError("no such GPU")


def slow():
    time.sleep(60)
