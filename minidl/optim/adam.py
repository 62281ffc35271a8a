"""Adam and AdamW: steps as long as the rate, however large the gradients are.

    m = beta1 * m + (1 - beta1) * g                       the gradient's running mean
    v = beta2 * v + (1 - beta2) * g^2                     and that of its square
    w = w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

D. Kingma, J. Ba: Adam: a method for stochastic optimization. ICLR 2015, algorithm 1. Adam adds weight_decay * w to the
gradient, where it is divided by sqrt(v) like the rest of it; AdamW shrinks the weight itself, w = w - lr * weight_decay
* w (I. Loshchilov, F. Hutter: Decoupled weight decay regularization. ICLR 2019). amsgrad divides by the greatest v so
far (S. Reddi, S. Kale, S. Kumar: On the convergence of Adam and beyond. ICLR 2018).
"""

import numpy as np

from ..kernels import adam as kernel
from ..kernels._cuda import refuse_capture
from ..tensor import Tensor
from ._flat import run
from .optimizer import Optimizer


class Adam(Optimizer):
    """
    Args:
        params: Parameters, or dictionaries {"params": Parameters, "lr": …} with settings of their own.
        lr: the learning rate, at least 0.
        betas: how much of its past each running mean keeps, from 0 to less than 1.
        eps: added to the root, at least 0.
        weight_decay: at least 0. amsgrad: as above. maximize: climb instead of descend.

    Raises:
        ValueError: a setting out of range, or no parameters.
    """

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, maximize=False):
        super().__init__(
            params,
            lr=lr,
            betas=tuple(betas),
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
        )

    def check(self, group):
        name = type(self).__name__
        for setting in ("lr", "eps", "weight_decay"):
            if not group[setting] >= 0:
                raise ValueError(f"{name}: {setting} must be at least 0, got {group[setting]!r}")
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{name}: betas must be two numbers from 0 to less than 1, got {group['betas']!r}")

    def update(self, parameter, gradient, group, state):
        Adam.update_all(self, [parameter], [gradient], group, [state])

    def update_all(self, parameters, gradients, group, states):
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None)
        lr, eps, weight_decay = (float(group[name]) for name in ("lr", "eps", "weight_decay"))
        beta1, beta2 = (float(beta) for beta in group["betas"])
        steps = []
        for parameter, gradient, state in zip(parameters, gradients, states, strict=True):
            refuse_capture(parameter, type(self).__name__, "each replay would be the step of the same number")
            for name in names:
                if name and name not in state:
                    state[name] = Tensor(np.zeros_like(parameter))
            state["step"] = state.get("step", 0) + 1
            gradient = -gradient if group["maximize"] else gradient
            settings = (
                state["step"], lr, beta1, beta2, eps, weight_decay, self.decoupled, bool(group["amsgrad"]),
            )  # fmt: skip
            steps.append((settings, parameter, gradient, state, names))
        run(kernel.step, steps)


class AdamW(Adam):
    """Adam with decoupled weight decay, 0.01 by default; arguments as Adam's."""

    decoupled = True

    def __init__(
        self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
