"""Dropout as modules: active in training, and nothing at all after eval()."""

from .. import ops
from .module import Module


class Dropout(Module):
    """Zeros in place of elements chosen with probability p, the others divided by 1 - p; see ops.dropout."""

    def __init__(self, p=0.5):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be from 0 to 1, got {p}")
        self.p = p

    def forward(self, input):
        return ops.dropout(input, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Whole channels of images are dropped; see ops.dropout2d."""

    def forward(self, input):
        return ops.dropout2d(input, self.p, self.training)
