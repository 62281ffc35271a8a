"""Arrays where a step too far is seen: copies at the edge of memory that nobody may touch."""

import ctypes
import mmap
import sys
from itertools import cycle
from weakref import WeakValueDictionary

import numpy as np

from .build import EmulationError

_PAGE = mmap.PAGESIZE
_GUARD = 256  # pages that nobody may touch, on either side: an index that is far off lands in them too
_CANARIES = range(0xFFFFFC01, 0x100000000)  # words that are NaN as a float, as a double, and in both halves

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_canaries = cycle(_CANARIES)
_addressed = WeakValueDictionary()  # address -> the array that begins there


def remember(array):
    """Note that a kernel may be given this array's address in a table. Of several that begin there, the largest."""
    known = _addressed.get(array.ctypes.data)
    if known is None or known.nbytes < array.nbytes:
        _addressed[array.ctypes.data] = array


def array_at(address):
    """The array whose address it is.

    Raises:
        EmulationError: there is none, or none any more.
    """
    array = _addressed.get(int(address))
    if array is None:
        raise EmulationError(f"no array that is alive begins at the address {address:#x}")
    return array


_free = {}  # number of pages -> first usable addresses


def regions_of(arrays):
    """Stretches of memory that the arrays lie in, each with the arrays of it: arrays that overlap share one.

    Returns:
        list of (first address, past the last, [arrays]).
    """
    stretches = []
    for array in sorted(arrays, key=lambda a: np.lib.array_utils.byte_bounds(a)):
        first, last = np.lib.array_utils.byte_bounds(array)
        if not array.size:
            first = last = array.ctypes.data
        if stretches and first < stretches[-1][1]:
            start, stop, sharers = stretches.pop()
            stretches.append((start, max(stop, last), [*sharers, array]))
        else:
            stretches.append((first, last, [array]))
    return stretches


class GuardedCopy:
    """A copy of a stretch of memory, its last bytes (or its first) at a guard page, its alignment to 16 bytes kept.

    Where alignment leaves a gap, the gap holds NaN and is checked afterwards. Each copy has its own NaN: a kernel that
    goes too far in all of its arrays writes into one gap what it read in another.
    """

    def __init__(self, first, last, at_start):
        self.first, self.size = first, last - first
        pages = max(1, -(-(self.size + 16) // _PAGE))
        self.pages = pages
        self.base = _free[pages].pop() if _free.get(pages) else _map(pages)
        usable, shift = pages * _PAGE, first % 16
        if at_start:
            self.address = self.base + shift
        else:
            self.address = self.base + (usable - self.size - shift) // 16 * 16 + shift
        self.canary, begin = next(_canaries).to_bytes(4, sys.byteorder), self.address - self.base
        self.gaps = (0, begin), (begin + self.size, usable - begin - self.size)  # (start, bytes)
        for gap in self.gaps:
            ctypes.memmove(self.base + gap[0], self._nan(*gap), gap[1])
        ctypes.memmove(self.address, first, self.size)

    def _nan(self, start, size):
        return (self.canary * (size // 4 + 2))[start % 4 :][:size]

    def intact(self):
        """Whether the gaps are as they were."""
        return all(ctypes.string_at(self.base + gap[0], gap[1]) == self._nan(*gap) for gap in self.gaps)

    def copy_back(self):
        ctypes.memmove(self.first, self.address, self.size)

    def release(self):
        _free.setdefault(self.pages, []).append(self.base)


def _map(pages):
    start = _libc.mmap(None, (pages + 2 * _GUARD) * _PAGE, mmap.PROT_READ | mmap.PROT_WRITE, 0x22, -1, 0)
    if start in (None, ctypes.c_void_p(-1).value):
        raise EmulationError(f"no memory for a guarded copy of {pages} pages")
    _libc.mprotect(start, _GUARD * _PAGE, 0)
    _libc.mprotect(start + (_GUARD + pages) * _PAGE, _GUARD * _PAGE, 0)
    return start + _GUARD * _PAGE
