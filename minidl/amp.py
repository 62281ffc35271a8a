"""Automatic mixed precision: on a GPU a net computes in half precision where that is safe; its weights stay float32.

    scaler = dl.amp.GradScaler()
    for x, y in loader:
        with dl.amp.autocast():
            loss = dl.ops.cross_entropy(net(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

P. Micikevicius et al.: Mixed precision training. ICLR 2018. Names and rules are those of torch.amp.
"""

from contextlib import ContextDecorator

import numpy as np

from .cuda import is_device
from .function import casting
from .kernels import COMPILED, contiguous, unscale
from .kernels._cuda import named_errors
from .kernels._layout import memory_order
from .tensor import Tensor


class autocast(ContextDecorator):
    """In the with block (or the decorated function), operations on a GPU choose their precision: see ops/_autocast.py.

    The backward pass may run outside: it uses the dtypes of the forward pass. Tensors on the CPU stay as they are.

    Args:
        device_type: "cuda". "cpu" only with enabled=False: NumPy has no bfloat16, and computes slowly in float16.
        dtype: float16. enabled: with False, operations compute in what they are given, also within another autocast.

    Raises:
        ValueError: another device or dtype.
    """

    def __init__(self, device_type="cuda", dtype=np.float16, enabled=True):
        if not is_device(device_type):
            raise ValueError(f"autocast: device_type must be 'cuda' or 'cpu', got {device_type!r}")
        if enabled and device_type == "cpu":
            raise ValueError("autocast: device_type 'cpu' computes in float32 alone; pass enabled=False there")
        if np.dtype(dtype) != np.float16:
            raise ValueError(f"autocast: dtype must be float16, got {np.dtype(dtype)}")
        self._dtype, self._entered = np.dtype(dtype) if enabled else None, []

    def __enter__(self):
        self._entered.append(casting(self._dtype))
        self._entered[-1].__enter__()
        return self

    def __exit__(self, *exception):
        self._entered.pop().__exit__(*exception)

    def _recreate_cm(self):  # a decorated function may run in several threads at once
        return autocast(dtype=self._dtype or np.float16, enabled=self._dtype is not None)


class GradScaler:
    """Multiplies the loss, so that gradients in half precision do not become 0; divides the weights' gradients again.

    Where a gradient is infinite or NaN the step is skipped and the scale multiplied by `backoff_factor`; after
    `growth_interval` steps in a row that were not, it is multiplied by `growth_factor`. So it stays as large as it can.

    Args:
        init_scale, growth_factor, backoff_factor, growth_interval: as above.
        enabled: with False, `scale` returns what it is given, `step` is the optimizer's, and the rest does nothing.

    Raises:
        ValueError: init_scale not positive, growth_factor not above 1, backoff_factor not between 0 and 1,
            growth_interval less than 1.
    """

    def __init__(self, init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True):
        for name, value, right, must in (
            ("init_scale", init_scale, init_scale > 0, "be positive"),
            ("growth_factor", growth_factor, growth_factor > 1, "be more than 1"),
            ("backoff_factor", backoff_factor, 0 < backoff_factor < 1, "be between 0 and 1"),
            ("growth_interval", growth_interval, growth_interval >= 1, "be at least 1"),
        ):
            if not right:
                raise ValueError(f"GradScaler: {name} must {must}, got {value}")
        self._scale, self._growth_factor, self._backoff_factor = float(init_scale), growth_factor, backoff_factor
        self._growth_interval, self._good_steps, self._enabled = growth_interval, 0, bool(enabled)
        self._finite = {}  # optimizer -> whether its gradients are, once they are unscaled; until update()
        self._stepped = set()  # optimizers that have stepped since update()

    def scale(self, outputs):
        """A Tensor, or a list or tuple of them, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, list | tuple):
            return type(outputs)([self.scale(output) for output in outputs])
        raise TypeError(f"GradScaler.scale: outputs must be Tensors, got {type(outputs).__name__}")

    def unscale_(self, optimizer):
        """Divide the gradients of an optimizer's parameters by the scale, in place: to clip them, before `step`.

        Raises:
            RuntimeError: they are already, or the optimizer has stepped, since the last `update`; or there is none.
            TypeError: a parameter in half precision. Weights must be float32: many steps are too small for half.
        """
        if not self._enabled:
            return
        if optimizer in self._stepped:
            raise RuntimeError("GradScaler.unscale_: this optimizer has stepped since the last update()")
        if optimizer in self._finite:
            raise RuntimeError("GradScaler.unscale_: called twice for this optimizer since the last update()")
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            raise RuntimeError("GradScaler.unscale_: no parameter of the optimizer has a gradient")
        if any(g.dtype == np.float16 for g in gradients):
            raise TypeError("GradScaler.unscale_: gradients are float16; keep the weights in float32")
        self._finite[optimizer] = _all_finite([g.data for g in gradients], 1 / self._scale)
        for gradient in gradients:
            gradient.mark_changed("GradScaler.unscale_()")

    def step(self, optimizer):
        """optimizer.step(), with gradients divided by the scale, if all of them are finite; else nothing.

        Raises:
            RuntimeError: the optimizer has stepped since the last `update`; others as unscale_.
        """
        if not self._enabled:
            return optimizer.step()
        if optimizer in self._stepped:
            raise RuntimeError("GradScaler.step: called twice for this optimizer since the last update()")
        if optimizer not in self._finite:
            self.unscale_(optimizer)
        self._stepped.add(optimizer)
        if self._finite[optimizer]:
            optimizer.step()

    def update(self, new_scale=None):
        """Choose the scale of the next step, by what became of this one; or set it.

        Raises:
            RuntimeError: no gradients were unscaled since the last `update`. ValueError: new_scale is not positive.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            if not new_scale > 0:
                raise ValueError(f"GradScaler.update: new_scale must be positive, got {new_scale}")
            self._scale = float(new_scale)
        elif not self._finite:
            raise RuntimeError("GradScaler.update: call step() or unscale_() before it")
        elif not all(self._finite.values()):
            self._scale, self._good_steps = self._scale * self._backoff_factor, 0
        else:
            self._good_steps += 1
            if self._good_steps == self._growth_interval:
                self._good_steps, larger = 0, self._scale * self._growth_factor
                if larger <= float(np.finfo(np.float32).max):  # as far as PyTorch's goes
                    self._scale = larger
        self._finite, self._stepped = {}, set()

    def get_scale(self):
        """What losses are multiplied by: 1.0 where it is not enabled."""
        return self._scale if self._enabled else 1.0

    def is_enabled(self):
        """Whether it does anything."""
        return self._enabled

    def state_dict(self):
        """The scale, the settings and the count of good steps, as numbers by PyTorch's names; {} where not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._good_steps,
        }

    def load_state_dict(self, state_dict):
        """Take over what state_dict gave.

        Raises:
            RuntimeError: it is empty: of a scaler that was not enabled. KeyError: an entry is missing.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler.load_state_dict: the state is empty, of a scaler that was not enabled")
        names = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
        values = [state_dict[name] for name in names]
        self._scale, self._growth_factor, self._backoff_factor, self._growth_interval, self._good_steps = values


def _all_finite(arrays, factor):
    """Multiply gradients in place; whether all of them are finite then. On a GPU in one launch, for which it waits."""
    alike, faults = {}, []
    for array in arrays:
        flat = contiguous(array.transpose(memory_order(array))).reshape(-1)
        if array.dtype not in COMPILED or not np.may_share_memory(flat, array):  # there are gaps in its memory
            array *= factor
            faults.append(~np.isfinite(array))
        else:
            alike.setdefault(id(array) if isinstance(array, np.ndarray) else array.dtype, []).append(flat)
    for flats in alike.values():
        faults.append(np.empty(unscale.pieces(*(flat.size for flat in flats)), np.int32, like=flats[0]))
        x = flats[0] if isinstance(flats[0], np.ndarray) else flats
        unscale.forward(x, factor, x, faults[-1])
    with named_errors():
        return not any(bool(found.any()) for found in faults)
