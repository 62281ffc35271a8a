"""Bank conflicts: how many turns shared memory takes for what the warps ask of it, line by line."""

import ctypes
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass

from .build import source_line
from .module import execution

BANKS, WARP, WORD = 32, 32, 4  # a bank gives one word of four bytes per turn


@dataclass
class Turns:
    """Of a line: how often a warp came to it, the turns that took, and the turns it would take without conflicts."""

    accesses: int = 0
    turns: int = 0
    least: int = 0


class _Access(ctypes.Structure):
    _fields_ = [
        ("instruction", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("block", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("bytes", ctypes.c_int),
    ]


@contextmanager
def bank_turns():
    """{"file:line": Turns} of the launches within the block, filled as they come.

    The n-th time that a lane comes to an instruction is taken to be one access with the n-th times of the other lanes,
    as on a GPU whose warps stay together.
    """
    turns = defaultdict(Turns)
    with execution(sanitizer="banks", after=lambda library: _count(library, turns)):
        yield turns


def _count(library, turns):
    number = ctypes.c_size_t()
    library.take_accesses.restype = ctypes.POINTER(_Access)
    noted = library.take_accesses(ctypes.byref(number))
    times, together = Counter(), defaultdict(dict)  # (instruction, block, warp, time) -> {lane: (address, bytes)}
    for access in noted[: number.value]:
        time = times[access.instruction, access.block, access.thread]
        times[access.instruction, access.block, access.thread] += 1
        key = access.instruction, access.block, access.thread // WARP, time
        together[key][access.thread % WARP] = access.address, access.bytes
    places = {instruction: source_line(library._name, instruction) for instruction in {key[0] for key in together}}
    for (instruction, *_), lanes in together.items():
        # Of 8 bytes per lane half a warp has its turn at a time, of 16 a quarter.
        at_once = WARP * WORD // max(WORD, *(bytes for _, bytes in lanes.values()))
        line = turns[places[instruction]]
        line.accesses += 1
        for first in range(0, WARP, at_once):
            part = [lanes[lane] for lane in range(first, first + at_once) if lane in lanes]
            if part:
                line.turns += turns_of(part)
                line.least += 1


def turns_of(accesses):
    """For what lanes ask at once, [(address, bytes)]: the most different words that lie in one bank."""
    words = {word for address, bytes in accesses for word in range(address // WORD, (address + bytes - 1) // WORD + 1)}
    return max(Counter(word % BANKS for word in words).values())
