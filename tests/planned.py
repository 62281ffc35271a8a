"""What tests of planned nets share (plan.py)."""

import random

import numpy as np
from helpers import normal

import minidl as dl
from minidl import nn


def image(seed=0, *shape):
    return dl.Tensor(normal(*(shape or (2, 3, 8, 8)), seed=seed))


class Net(nn.Module):
    """Its forward is `then`; `runs` counts how often Python goes through it."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.linear, self.dropout = nn.Conv2d(3, 4, 3), nn.Linear(6, 5), nn.Dropout(0.5)
        self.then, self.runs, self.flag = then, [], False
        self.new, self.old, self.python = np.random.default_rng(0), np.random.RandomState(0), random.Random(0)

    def forward(self, x):
        self.runs.append(1)
        return self.then(self, self.conv(x))


def infer(net, *inputs):
    with dl.no_grad():
        return net(*inputs).data
