"""Tensor: an array, its gradient, and its place in the graph.

The arithmetic lives in ops/, whose functions become Tensor's operators and methods when the package is imported.
"""

import copy

import numpy as np

from . import cuda, function

DEFAULT_DTYPE = np.dtype(np.float32)  # of Python floats, as in PyTorch
_SINGLE = {np.dtype(np.float64): DEFAULT_DTYPE, np.dtype(np.complex128): np.dtype(np.complex64)}
_FLOATING = "fc"
_kinds = 0  # see changes_of_kind


class Counter:
    """How often an array was changed in place, and by what. Tensors that share memory share it; it knows the views."""

    value = room = 0
    last, views = None, ()  # on the class: most Tensors are never changed, and their counters should cost little


class View:
    """What a Tensor is a view of; views.py follows it.

    steps: (the steps before, Function, arguments after the Tensor, which output), () for the base itself, None where
    they are unknown. obstacle: why this view cannot be changed in place while the graph is recorded, or None.
    """

    __slots__ = ("base", "steps", "obstacle")

    def __init__(self, base, steps, obstacle):
        self.base, self.steps, self.obstacle = base, steps, obstacle


class Tensor:
    """A NumPy array that remembers how it was computed.

    Args:
        data: an array (kept, not copied), a Tensor (its array is shared), or numbers in nested lists (Python floats
            become float32).
        requires_grad: compute a gradient for it in `backward`; the dtype must be floating-point or complex.

    Raises:
        TypeError: data is not numeric, or integers are to require a gradient.

    Attributes:
        data: the array.
        grad: the accumulated gradient, a Tensor of the same shape and dtype, or None.
        requires_grad: whether gradients flow to it.
    """

    __slots__ = ("_data", "_grad", "_requires_grad", "_node", "_index", "_counter", "_hooks", "_view", "__weakref__")
    _edges = _retained = None  # what a node of the graph has and a leaf has not
    __array_ufunc__ = None  # array * tensor is Tensor.__rmul__, not an array of Tensors

    def __init__(self, data, requires_grad=False):
        self._data = _as_array(data)
        self._counter = None
        if isinstance(data, Tensor):
            data.share_counter(self)
        self._grad = self._node = self._hooks = self._view = None
        self._index = 0
        self._requires_grad = False
        if requires_grad:
            self.requires_grad_()

    # ---- what it is --------------------------------------------------------------------------------------------------

    @property
    def data(self):
        if function._modes.reader is not None:
            function._modes.reader(self)
        return self._data

    @data.setter
    def data(self, value):
        value = _as_array(value)
        if self.requires_grad and value.dtype.kind not in _FLOATING:
            raise TypeError(f"data: {value.dtype} cannot replace the data of a Tensor that requires a gradient")
        if kind_of(value) != kind_of(self._data):
            global _kinds
            _kinds += 1
        self._data = value
        self.mark_changed("assigning to .data")

    @property
    def grad(self):
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            function.check_gradient("grad", value, self.shape, self.dtype, self._data)
        self._grad = value

    @property
    def requires_grad(self):
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value):
        self.requires_grad_(value)

    @property
    def shape(self):
        return self._data.shape

    @property
    def ndim(self):
        return self._data.ndim

    @property
    def dtype(self):
        return self._data.dtype

    @property
    def device(self):
        """ "cpu", or "cuda:0" on the first GPU."""
        return cuda.device_of(self._data)

    @property
    def is_leaf(self):
        """True for a Tensor that no recorded operation computed."""
        return self._node is None

    @property
    def grad_fn(self):
        """The Function that computed it; None for a leaf."""
        return self._node

    def dim(self):
        """The number of dimensions."""
        return self._data.ndim

    def size(self, dim=None):
        """The shape, or the extent of one dimension."""
        if dim is None:
            return self._data.shape
        if not -self.ndim <= dim < self.ndim:
            raise ValueError(f"size: dim {dim} is out of range for a Tensor of {self.ndim} dimensions")
        return self._data.shape[dim]

    def numel(self):
        """The number of elements."""
        return self._data.size

    def __len__(self):
        if not self._data.ndim:
            raise TypeError("len() of a 0-d Tensor")
        return len(self._data)

    def __repr__(self):
        text = np.array2string(cuda.to_host(self._data), separator=", ", prefix="tensor(", threshold=1000, precision=4)
        if self.dtype not in (DEFAULT_DTYPE, np.int64, np.bool_):
            text += f", dtype={self.dtype}"
        if self.device != "cpu":
            text += f", device='{self.device}'"
        if self._node is not None:
            text += f", grad_fn={self._node!r}"
        elif self.requires_grad:
            text += ", requires_grad=True"
        return f"tensor({text})"

    def __format__(self, spec):
        """A 0-d Tensor formats as its number: f"{loss:.3f}"."""
        return format(self.item(), spec) if spec and not self._data.ndim else format(repr(self), spec)

    # ---- leaving the graph -------------------------------------------------------------------------------------------

    def numpy(self):
        """The array itself, not a copy.

        Raises:
            RuntimeError: it requires a gradient: changing the array would make the recorded graph wrong. Use
                detach().numpy(). TypeError: it is on a GPU; use cpu().numpy().
        """
        if cuda.on_gpu(self._data):
            raise TypeError(f"numpy(): this Tensor is on {self.device}; call .cpu() first")
        if self.requires_grad:
            raise RuntimeError("numpy(): this Tensor requires a gradient; call detach().numpy()")
        return self.data

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self):
        """The only element as a Python number.

        Raises:
            ValueError: it has no or several elements.
        """
        if self._data.size != 1:
            raise ValueError(f"item(): the Tensor must have one element, its shape is {self.shape}")
        return cuda.to_host(self.data).item()

    def tolist(self):
        """Nested lists of Python numbers."""
        return cuda.to_host(self.data).tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self._data.dtype.kind not in "iu" or self._data.size != 1:
            raise TypeError(
                f"only an integer Tensor of one element can be an index, not {self.dtype} of shape {self.shape}"
            )
        return self.item()

    def __bool__(self):
        if self._data.size != 1:
            raise ValueError(f"the truth value of a Tensor of shape {self.shape} is ambiguous: use .any() or .all()")
        return bool(self.item())

    def to(self, *targets):
        """Converted to a dtype, moved to a device ("cpu", "cuda", "cuda:1"), or both as another Tensor has them.

        The gradient comes back the same way. Itself where nothing changes.

        Raises:
            RuntimeError: "cuda", and there is no GPU. ValueError: a string that names neither device nor dtype.
            TypeError: no dtype of numbers.
        """
        result = self
        for target in targets:
            dtype, device = conversion(target)
            result = result if dtype is None else result.astype(dtype)
            result = result if device is None else result._move(device)
        return result

    def cpu(self):
        """to("cpu")."""
        return self.to("cpu")

    def cuda(self, device=None):
        """to("cuda"), or to the GPU of a number."""
        return self.to("cuda" if device is None else f"cuda:{device}")

    def type_as(self, other):
        """Converted to the dtype of another Tensor."""
        if not isinstance(other, Tensor):
            raise TypeError(f"type_as: a Tensor is needed, got {type(other).__name__}")
        return self.astype(other.dtype)

    def detach(self):
        """A Tensor of the same memory that is not part of the graph."""
        result = wrap(self._data, None, 0)
        self.share_counter(result)
        return result

    __hash__ = object.__hash__  # == compares elements, so hashing is by identity

    def __deepcopy__(self, memo):
        if self._node is not None:
            raise RuntimeError(
                "deepcopy: only leaf Tensors can be copied with their gradients; use detach() or clone()"
            )
        result = type(self)(self._data.copy(order="K"), self.requires_grad)
        result.grad = copy.deepcopy(self.grad, memo)
        return result

    def __reduce_ex__(self, protocol):
        raise TypeError("a Tensor is never pickled: save arrays with minidl.save (safetensors)")

    # ---- gradients ---------------------------------------------------------------------------------------------------

    def requires_grad_(self, requires_grad=True):
        """Set requires_grad of a leaf, in place; returns the Tensor.

        Raises:
            TypeError: the dtype has no derivative. RuntimeError: the Tensor is computed, not a leaf.
        """
        if requires_grad and self._data.dtype.kind not in _FLOATING:
            raise TypeError(f"requires_grad: only floating-point or complex Tensors have gradients, not {self.dtype}")
        if not requires_grad and self._node is not None:
            raise RuntimeError("requires_grad: a computed Tensor cannot stop requiring a gradient; use detach()")
        self._requires_grad = bool(requires_grad)
        return self

    def backward(self, gradient=None, retain_graph=None, create_graph=False):
        """Add to the .grad of every leaf the derivative of this Tensor (weighted by `gradient`) with respect to it.

        Args:
            gradient: array or Tensor shaped like this one; may be left out for a Tensor of one element (1).
            retain_graph: keep what the graph saved, so that a second pass can follow (default: create_graph).
            create_graph: record the backward pass itself, so that gradients can be differentiated.

        Raises:
            RuntimeError: it does not require a gradient, has several elements and no gradient is given, or the graph
                was freed. ValueError: gradient has another shape. TypeError: gradient has another kind of dtype.
        """
        from . import autograd

        autograd.backward([self], [gradient], retain_graph, create_graph)

    def register_hook(self, hook):
        """Call hook(gradient) when the gradient of this Tensor is computed; what it returns, if not None, replaces it.

        Returns:
            a handle whose remove() takes the hook away.

        Raises:
            RuntimeError: the Tensor does not require a gradient.
        """
        if not self.requires_grad:
            raise RuntimeError("register_hook: the Tensor does not require a gradient")
        hooks = self._leaf_hooks(0) if self._node is None else self._node.output_hooks(self._index)
        return function.Handle(hooks, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call hook(tensor) each time a backward pass has added to the .grad of this leaf.

        Returns:
            a handle whose remove() takes the hook away.

        Raises:
            RuntimeError: the Tensor is no leaf, or does not require a gradient.
        """
        if self._node is not None or not self.requires_grad:
            raise RuntimeError(
                "register_post_accumulate_grad_hook: a leaf that requires a gradient is needed; this Tensor is "
                + ("computed" if self._node is not None else "a leaf that requires none")
            )
        return function.Handle(self._leaf_hooks(function.AFTER_ACCUMULATION), hook)

    def _leaf_hooks(self, key):
        if self._hooks is None:
            self._hooks = {}
        return self._hooks.setdefault(key, {})

    def retain_grad(self):
        """Keep .grad also for this computed Tensor (a leaf keeps it anyway)."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: the Tensor does not require a gradient")
        if self._node is not None:
            self._node.retain_output(self._index, self)

    @property
    def retains_grad(self):
        """Whether backward keeps .grad of this computed Tensor, because of retain_grad()."""
        return self._node is not None and self._node.retains(self._index, self)

    # ---- changes in place --------------------------------------------------------------------------------------------

    def counter(self):
        """The counter of changes in place, made when first asked for."""
        if self._counter is None:
            self._counter = Counter()
        return self._counter

    def mark_changed(self, what):
        """Record that the data was changed in place, so that a backward that saved it can tell, and name `what` did."""
        counter = self.counter()
        counter.value += 1
        counter.last = what

    def check_writable(self, what):
        """Raise RuntimeError where the memory cannot be changed: it repeats elements (expand) or was given so."""
        if not cuda.writable(self._data):
            raise RuntimeError(f"{what}: the Tensor's memory is read-only; change a clone()")

    def share_counter(self, other):
        """Let a Tensor of the same memory count its changes together with this one."""
        other._counter = self.counter()

    def replace_(self, result, what):
        """Write `result` (computed from this Tensor by a recorded operation) into this Tensor's memory and place.

        Raises:
            RuntimeError: another device; memory that is read-only; while the graph is recorded, a leaf that requires a
                gradient, or a view that cannot be followed (see views.py).
            ValueError, TypeError: the result has another shape, or a dtype that cannot be stored.
        """
        if result.shape != self.shape:
            raise ValueError(
                f"{what}: the result's shape {result.shape} is not that of the Tensor changed, {self.shape}"
            )
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise TypeError(f"{what}: {result.dtype} cannot be stored in a Tensor of {self.dtype}")
        if cuda.apart(result._data, self._data):
            raise RuntimeError(f"{what}: the result is on {result.device}, the Tensor changed on {self.device}")
        self.check_writable(what)
        if function.is_grad_enabled() and (self.requires_grad or result.requires_grad):
            from . import views

            result = result if result.dtype == self.dtype else result.astype(self.dtype)
            views.replace_history(self, result, what)
        self._data[...] = result._data
        self.mark_changed(what)
        return self


def tensor(data, requires_grad=False, dtype=None, device=None):
    """A Tensor with a copy of `data`: an array, a Tensor or numbers in nested lists (Python floats become float32).

    Args:
        dtype: by default that of the data. device: "cpu", "cuda", "cuda:1"; by default the one the data is on.
    """
    try:
        dtype = None if dtype is None else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"tensor: dtype {dtype!r} is not understood") from None
    array = _as_array(data, dtype)
    if device is not None and not cuda.is_device(device):
        raise ValueError(f"tensor: device must be 'cpu', 'cuda' or 'cuda:' and a number, got {device!r}")
    moved = array if device is None else cuda.send(array, device)
    return Tensor(moved.copy(order="K") if moved is array else moved, requires_grad)


def kind_of(array):
    """Its shape, dtype and library."""
    return array.shape, array.dtype, type(array)


def changes_of_kind():
    """A number that is another one after some Tensor was given an array of another kind, to whoever relies on it."""
    return _kinds


def wrap(array, node, index, counter=None):
    """A Tensor around an array that an operation computed: no checks."""
    result = Tensor.__new__(Tensor)
    result._data = array
    result._node = node
    result._index = index
    result._requires_grad = node is not None
    result._counter = counter
    result._grad = result._hooks = result._view = None
    return result


def conversion(target):
    """(dtype, device) that an argument of `to` asks for, None for what it leaves.

    Raises:
        TypeError, ValueError: no dtype, device or Tensor.
    """
    if isinstance(target, Tensor):
        return target.dtype, target.device
    if cuda.is_device(target):
        return None, target
    try:
        return np.dtype(target), None
    except TypeError:
        if not isinstance(target, str):
            raise TypeError(f"to: a dtype, a device or a Tensor is needed, got {target!r}") from None
        raise ValueError(f"to: {target!r} is neither a device ('cpu', 'cuda', 'cuda:1') nor a dtype") from None


def _as_array(data, dtype=None):
    """data as a plain array in the machine's byte order, of `dtype` or one that fits it; a GPU library's as it is."""
    if type(data) is not np.ndarray:
        data = _plain(data)
    if not isinstance(data, np.ndarray):
        if cuda.on_gpu(data):
            return data if dtype is None else data.astype(dtype, copy=False)
        double = dtype is not None or _holds_doubles(data)
        try:
            data = np.array(data)
        except ValueError as error:
            raise ValueError(f"data: nested lists must all have the same lengths ({error})") from None
        if data.dtype in _SINGLE and not double:
            data = data.astype(_SINGLE[data.dtype])
    if data.dtype.kind not in "biufc":
        raise TypeError(f"data: numbers are needed, got an array of {data.dtype}")
    dtype = data.dtype if dtype is None else dtype
    if data.dtype == dtype and dtype.isnative:
        return data
    return data.astype(dtype if dtype.isnative else dtype.newbyteorder("="))  # newbyteorder makes another object


def _plain(data):
    """Tensors, NumPy's numbers and subclasses, and the arrays of other libraries as plain arrays; also within lists."""
    if isinstance(data, list | tuple):
        return [_plain(d) for d in data]
    if isinstance(data, Tensor):
        return data._data
    return np.asarray(data) if hasattr(data, "__array__") and not cuda.on_gpu(data) else data


def _holds_doubles(data):
    """Whether an array of double precision is among the data; Python's own floats give way to float32."""
    return any(map(_holds_doubles, data)) if isinstance(data, list) else getattr(data, "dtype", None) in _SINGLE
