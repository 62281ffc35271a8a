"""What a GPU has to do, and when it does it: streams, events, graphs.

Work is handed to do(). It is done at once; or as late as a GPU may do it, in the block of deferring(), so that a wait
that was forgotten shows in the numbers; or, while its stream is being captured, at every launch of the graph.
"""

import threading
import time
import types
from collections import deque
from contextlib import contextmanager

_ERRORS = {
    2: "cudaErrorMemoryAllocation: out of memory",
    35: "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version",
    700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
    900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
    901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture",
    907: "cudaErrorCapturedEvent: operation not permitted on an event last recorded in a capturing stream",
}
state = types.SimpleNamespace(devices=1, fault=None, deferring=False, streams=[], held=[])
local = threading.local()
_running = threading.RLock()  # held by the thread that does deferred work: any may come to wait for it


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        self.status = status
        super().__init__(_ERRORS[status])


def require_device():
    """What every call that needs the driver does first."""
    if not state.devices:
        raise CUDARuntimeError(35)


def wait(*streams):
    """What every call that waits does, by default for all streams: an error of work that was started shows here."""
    require_device()
    for stream in streams or state.streams:
        stream._refuse_if_capturing()
        stream._run()
    if state.fault is not None:
        raise CUDARuntimeError(state.fault)


def do(action):
    """Hand work to the current stream."""
    streams()[-1]._take(action)


def at_once():
    """Whether work that is handed to the current stream is done before do() returns."""
    return not state.deferring and streams()[-1]._captured is None


@contextmanager
def deferring():
    """Within the block all streams, also the default one, leave their work until something waits for it.

    What an array held is overwritten with garbage when its memory is free again, in the order of the stream on which it
    was taken: a pool may give it to the next one who asks there.
    """
    state.deferring = True
    try:
        yield
        wait()
    finally:
        state.deferring = False
        state.held.clear()
        for stream in state.streams:
            stream._queue.clear()


def fault(status):
    """Let work that was started fail: it stays so until recover(), as a CUDA context is lost after such an error."""
    state.fault = status


def recover():
    """Forget the fault."""
    state.fault = None


def devices():
    if not hasattr(local, "devices"):
        local.devices = [0]
    return local.devices


def current_device():
    require_device()
    return devices()[-1]


# ---- streams -------------------------------------------------------------------------------------------------------


class Stream:
    """Work in order."""

    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        if not null:
            require_device()
        self.ptr = 0 if null else id(self)
        self.is_non_blocking, self.waited_for = non_blocking, []
        self._queue, self._captured = deque(), None  # what is left to do; the Graph that it goes to instead
        state.streams.append(self)

    def _take(self, action):
        if self._captured is not None:
            self._captured.work.append(action)
        elif state.deferring:
            self._queue.append(action)
        else:
            action()

    def _run(self, until=lambda: False):
        with _running:
            while self._queue and not until():
                self._queue.popleft()()

    def _refuse_if_capturing(self, status=900):
        """What cannot be recorded fails, and the capture with it."""
        if self._captured is not None:
            self._captured.valid = False
            raise CUDARuntimeError(status)

    @property
    def done(self):
        require_device()
        self._refuse_if_capturing()
        if state.fault is not None:
            raise CUDARuntimeError(state.fault)
        return not self._queue

    def synchronize(self):
        wait(self)

    def begin_capture(self, mode=None):
        if not self.ptr:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._refuse_if_capturing()
        self._captured = Graph._of()

    def end_capture(self):
        if self._captured is None:
            raise CUDARuntimeError(900)
        graph, self._captured = self._captured, None
        if not graph.valid:
            raise CUDARuntimeError(901)
        return graph

    def is_capturing(self):
        return self._captured is not None

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        require_device()
        self.waited_for.append(event)
        moment = event._moment
        if moment is not None:
            self._take(moment.reach)

    def use(self):
        streams()[-1] = self
        return self

    def __enter__(self):
        streams().append(self)
        return self

    def __exit__(self, *exception):
        streams().pop()


Stream.null = Stream(null=True)


def streams():
    if not hasattr(local, "streams"):
        local.streams = [Stream.null]
    return local.streams


def get_current_stream(device_id=-1):
    require_device()
    return streams()[-1]


class _Moment:
    """A place in the work of a stream."""

    def __init__(self, stream):
        self.stream, self.at = stream, None
        stream._take(self._pass)

    def _pass(self):
        self.at = time.perf_counter()

    def reach(self):
        """Let the stream work until it is here."""
        self.stream._run(lambda: self.at is not None)


class Event:
    """A moment on a stream: the one that was recorded last."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        require_device()
        self._timed, self._moment = not disable_timing, None

    @property
    def done(self):
        self._check()
        return self._moment is None or self._moment.at is not None

    def record(self, stream=None):
        require_device()
        self._moment = _Moment(stream or streams()[-1])

    def synchronize(self):
        self._check()
        if self._moment is not None:
            self._moment.reach()

    def _check(self):
        require_device()
        if self._moment is not None:
            self._moment.stream._refuse_if_capturing(907)
        if state.fault is not None:
            raise CUDARuntimeError(state.fault)


def get_elapsed_time(start, end):
    times = [event._moment and event._moment.at for event in (start, end)]
    if None in times or not (start._timed and end._timed) or state.fault is not None:
        raise CUDARuntimeError(state.fault or 700)
    return (times[1] - times[0]) * 1e3


class Graph:
    """What a stream was handed while it was captured."""

    @classmethod
    def _of(cls):
        self = cls.__new__(cls)
        self.work, self.memory, self.valid = [], {}, True
        return self

    def __init__(self, *args, **kwargs):
        raise NotImplementedError("currently this class cannot be initiated by the user")

    def launch(self, stream=None):
        """Hand the work to a stream again.

        A GPU would read and write the same addresses whosever they are by now; that is an error here.
        """
        require_device()
        for memory, lasting in self.memory.values():
            if memory() is None and (lasting is None or lasting() is None):
                raise RuntimeError("the stand-in: this graph uses memory that was given back and may be another's")
        for action in self.work:
            (stream or streams()[-1])._take(action)
