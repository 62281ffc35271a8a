"""Batches before they are asked for: a thread gathers them, and a stream of its own copies them to the GPU.

    batch 1 ─ gathered ─ copied ┐
    batch 2             gathered ─ copied ┐      the thread, and the GPU's copy engine
    step 1                       └ computed ─┐
    step 2                                   └ computed      the GPU

A thread is enough: NumPy lets go of Python's lock while it copies, and a program that computes on a GPU mostly waits.
"""

import queue
import threading

import numpy as np

from .. import cuda
from ..kernels._layout import in_memory_order


def ahead(batches, count):
    """The items of an iterator, of which a thread has up to `count` ready.

    An error in the thread is raised here, after the items before it. Who stops early (break, or an exception) waits for
    the one item that is at work; a thread does not outlive its iterator.
    """
    ready, room, stopped = queue.Queue(), threading.Semaphore(count), threading.Event()

    def work():
        try:
            while room.acquire() and not stopped.is_set():
                ready.put((next(batches), None))
        except BaseException as error:  # StopIteration as well: the consumer raises or ends
            ready.put((None, error))

    thread = threading.Thread(target=work, name="minidl-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item
    finally:
        stopped.set()
        room.release()
        thread.join()


def send_ahead(batches, device, count):
    """Batches, tuples of NumPy arrays, as arrays on a GPU; up to `count` of them are gathered and copied ahead.

    Each arrives in memory of the thread's stream, and is copied once more, within the GPU, to memory of the caller's
    stream: CuPy gives memory that was freed to the next one who asks on the same stream, so a batch's memory must
    belong to the stream that computes with it. That copy is a hundred times as fast as the one from the host.

    Raises:
        RuntimeError: there is no such GPU.
    """
    device = cuda.full_name(device)
    if not count:
        yield from (tuple(cuda.send(array, device) for array in batch) for batch in batches)
        return
    with cuda.device(device):
        stream = cuda.Stream()
    for arrived in ahead((_sent(batch, device, stream) for batch in batches), count):
        with cuda.device(device):
            batch = tuple(array.copy(order="K") for array in arrived)
            stream.wait_stream(cuda.current_stream())  # the thread may use that memory again, but not before
        yield batch


def _sent(batch, device, stream):
    """The arrays on the GPU, once they are there: the thread waits, and nobody else."""
    with cuda.device(device), cuda.stream(stream):
        pinned = [_pinned(array) for array in batch]
        arrays = [_copied(array) for array in pinned]
        stream.synchronize()  # before the page-locked memory is given back
    return tuple(arrays)


def _pinned(array):
    """A copy in memory that the system does not move: the GPU reads it while programs go on."""
    import cupy

    def copy(memory):
        block = cupy.cuda.alloc_pinned_memory(max(1, memory.nbytes))
        pinned = np.frombuffer(block, memory.dtype, memory.size).reshape(memory.shape)
        pinned[...] = memory
        return pinned

    return in_memory_order(array, copy)


def _copied(array):
    import cupy

    def copy(memory):
        on_gpu = cupy.empty(memory.shape, memory.dtype)
        on_gpu.set(memory, stream=cupy.cuda.get_current_stream())  # without a stream named, set would wait
        return on_gpu

    return in_memory_order(array, copy)
