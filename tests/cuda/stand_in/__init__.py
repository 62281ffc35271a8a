"""CuPy without a GPU: the module that the tests put in its place, over NumPy memory, and stricter than comfort allows.

Code that runs on NumPy need not run on CuPy, and most of the ways in which it fails are silent on a lenient fake. So:

- An array is an object of its own kind, no NumPy array: `np.asarray(x)` raises, and so does what mixes the two.
- There are the names that CuPy 14.2 has and no others (names.txt), with its parameters and its loops of ufuncs.
- `np.add(x, y)` reaches CuPy by `__array_ufunc__`, `np.concatenate([x, y])` by `__array_function__`; an argument or a
  function that CuPy lacks raises TypeError.
- Indices out of range wrap around, of a place that is written twice the first value stands (CuPy: any).
- Reductions and single elements are 0-d arrays. `empty` is full of NaN. There is no `flags.writeable`.
- RawModule runs CUDA C on the emulator (../emulator), on the arrays' memory.
- After `work.fault(700)` every call that waits for the device raises, as after an illegal address on a real one.
- Within `work.deferring()` work is done only when something waits for it, and memory that was given back is taken at
  once by somebody else. So a wait that was forgotten shows as NaN.
- A captured stream records its work, each launch of its graph does it; what CuPy or the driver refuses then raises.

What it does not show: anything about speed.
"""

import sys

from . import arrays, functions, runtime, work  # noqa: F401 (tests say stand_in.work)


def install(devices=1, driver=13000):
    """Put the stand-in under the name cupy; returns it.

    Args:
        devices: how many GPUs there are; with 0 all calls fail. driver: the version of CUDA that it is for; 0: none.
    """
    module = functions.module()
    module.cuda = runtime.module(devices, driver)
    arrays.cupy = module
    for name, part in (("cupy", module), ("cupy.cuda", module.cuda), ("cupy.cuda.runtime", module.cuda.runtime)):
        sys.modules[name] = part
    return module


def uninstall():
    """Take it away again."""
    for name in ("cupy", "cupy.cuda", "cupy.cuda.runtime"):
        sys.modules.pop(name, None)
