"""Learning rates that change during training."""

import math


class CosineAnnealingLR:
    """lr = eta_min + (lr at first - eta_min) * (1 + cos(pi * step / T_max)) / 2: Loshchilov & Hutter 2017, equation 5.

    Call step() after each optimizer step; the rate reaches eta_min after T_max of them and stays there.

    Raises:
        ValueError: T_max less than 1.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.optimizer, self.T_max, self.eta_min = optimizer, T_max, eta_min
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.last_step = 0

    def step(self):
        """Set the rate for the next optimizer step."""
        self.last_step += 1
        share = (1 + math.cos(math.pi * min(self.last_step / self.T_max, 1.0))) / 2
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.eta_min + (base - self.eta_min) * share
