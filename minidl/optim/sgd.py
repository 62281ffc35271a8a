"""Stochastic gradient descent with momentum and weight decay.

    g = gradient + weight_decay * w
    v = momentum * v + (1 - dampening) * g          (v = g at the first step)
    w = w - lr * v                                  (nesterov: w - lr * (g + momentum * v))

Krizhevsky et al. 2012 (section 5) keep the rate inside the velocity: v = momentum * v + lr * g, w = w - v. The two
are the same while the rate is constant; after it drops, the velocity gathered at the higher rate goes on at full
length.
"""

import numpy as np

from ..kernels import sgd as kernel
from ..kernels._cuda import refuse_capture
from ..tensor import Tensor
from ._flat import run
from .optimizer import Optimizer


class SGD(Optimizer):
    """
    Args:
        params: Parameters, or dictionaries {"params": Parameters, "lr": …} with settings of their own.
        lr: the learning rate, at least 0.
        momentum, dampening, weight_decay: as above, at least 0.
        nesterov: look ahead (Sutskever et al. 2013); needs momentum and no dampening.
        lr_in_velocity: the paper's convention instead of PyTorch's.

    Raises:
        ValueError: a setting out of range, or no parameters.
    """

    def __init__(self, params, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, lr_in_velocity=False):
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            lr_in_velocity=lr_in_velocity,
        )

    def check(self, group):
        for name in ("lr", "momentum", "weight_decay"):
            if not group[name] >= 0:
                raise ValueError(f"SGD: {name} must be at least 0, got {group[name]!r}")
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum > 0 and dampening 0, got {group['momentum']}, {group['dampening']}"
            )

    def update(self, parameter, gradient, group, state):
        SGD.update_all(self, [parameter], [gradient], group, [state])

    def update_all(self, parameters, gradients, group, states):
        lr, momentum, weight_decay = (float(group[name]) for name in ("lr", "momentum", "weight_decay"))
        keep, name = float(1 - group["dampening"]), "momentum_buffer" if momentum else None
        rest = weight_decay, bool(group["nesterov"]), bool(group["lr_in_velocity"])
        usual, first = (lr, momentum, keep, *rest), (lr, momentum, 1.0, *rest)
        steps = []
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            settings = usual
            if momentum and name not in state:
                refuse_capture(parameter, "SGD's first step", "each replay would begin without velocity")
                state[name], settings = Tensor(np.zeros_like(parameter)), first
            steps.append((settings, parameter, gradient, state, (name,)))
        run(kernel.step, steps)
