"""How the tasks of a loop are shared out to threads: to each its own, and who has done his takes from the others.

    queues = share_out(count)
    for thread in prange(len(queues)):
        for task in tasks(queues, thread):
            …

`prange` alone gives each thread as many tasks as the others, and all wait for the last. But cores are not equally fast:
a laptop has large and small ones, and of a virtual machine's any may share its units with a neighbour's.

A thread's own tasks are a run, which it does in order: what one task leaves in the caches, or has fetched, the next one
finds. From another's it takes the last. Who does a task changes no result, as it writes what no other does.

Blumofe & Leiserson 1999, "Scheduling multithreaded computations by work stealing".
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc.parallel import _launch_threads

from ._jit import helper

_BYTES = 128  # from a queue to the next: they lie in other lines of the caches, and not in one fetched with them
_MOST, _LOWER = 2**31 - 1, 2**32 - 1
_I64 = ir.IntType(64)


@intrinsic
def _threads(context):
    """numba.get_num_threads(), by the name under which numba's own loops call it: the machine code can be kept."""

    def emit(context, builder, signature, args):
        _launch_threads()  # defines the name; a kernel that is loaded from a file does so for its prange
        kind = ir.FunctionType(_I64, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "get_num_threads"), [])

    return types.int64(), emit


@intrinsic
def _look(context, address):
    """The word at an address, which other threads change."""

    def emit(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "monotonic", 8)

    return types.int64(types.intp), emit


@intrinsic
def _replace(context, address, seen, new):
    """Put `new` in the place of `seen`. Returns whether that was still there."""

    def emit(context, builder, signature, args):
        place = builder.inttoptr(args[0], _I64.as_pointer())
        return builder.extract_value(builder.cmpxchg(place, args[1], args[2], "monotonic", "monotonic"), 1)

    return types.boolean(types.intp, types.int64, types.int64), emit


@helper
def share_out(count):
    """Tasks 0 to count - 1 as a queue for each thread: a word, of the first task and, in its upper half, the end."""
    if count > _MOST:
        raise ValueError("share_out: more than 2147483647 tasks")
    threads = _threads()
    queues = np.empty((threads, _BYTES // 8), np.int64)
    for thread in range(threads):
        queues[thread, 0] = count * thread // threads | count * (thread + 1) // threads << 32
    return queues


_PART = 3  # at a time a thread takes 1 / 2^3 of what is left in a queue: seldom, and in the end task by task


@helper
def _take(queues, threads, thread):
    """(first, end) of tasks that nobody has taken; equal where none is left. queues: their address.

    Of an array, threads would count references, and wait for each other there.
    """
    for distance in range(threads):
        address = queues + _BYTES * ((thread + distance) % threads)
        while True:
            seen = _look(address)
            first, end = seen & _LOWER, seen >> 32
            if first >= end:
                break
            count = max(1, end - first >> _PART)
            if distance == 0 and _replace(address, seen, seen + count):
                return first, first + count
            if distance > 0 and _replace(address, seen, seen - (count << 32)):
                return end - count, end
    return 0, 0


@helper
def tasks(queues, thread):
    """Generate the tasks that a thread is to do."""
    address, threads, thread = queues.ctypes.data, len(queues), np.int64(thread)
    task, end = _take(address, threads, thread)
    while task < end:
        yield task
        task += 1
        if task == end:
            task, end = _take(address, threads, thread)
