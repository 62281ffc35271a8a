"""Mutant and Witness, the table of all mutants, and what their samples are drawn with."""

from dataclasses import dataclass

import numpy as np

from ...autograd import grad
from ...tensor import Tensor


@dataclass(frozen=True)
class Witness:
    """Small arrays on which a wrong gradient differs from the right one.

    Attributes:
        inputs: an array per input. Lists become float64 arrays; arrays keep their dtype and their strides.
        cotangents: an array per floating-point output: the gradient that reaches it.
        passes: how often the backward pass runs over the one graph, which is retained.
        directions: of a mistake of second order: an array per input, the weights of the first gradients. What is
            compared are the derivatives of the weighted sum of these.
    """

    inputs: tuple
    cotangents: tuple
    passes: int = 1
    directions: tuple | None = None

    def __post_init__(self):
        for name in ("inputs", "cotangents", "directions"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, tuple(map(_as_array, values)))


def _as_array(value):
    return value if isinstance(value, np.ndarray) else np.array(value, np.float64)


@dataclass(frozen=True)
class Mutant:
    """An operation with a mistake in its backward pass, and the same operation without.

    Attributes:
        name: "softmax-without-the-sum".
        operation: what it should be: "softmax".
        mistake: what is wrong, in a sentence or two: the solution of the exercise.
        right: function of Tensors, one per input, that returns a Tensor or a tuple of Tensors.
        wrong: the same forward pass with a wrong backward pass.
        inputs: function of a numpy.random.Generator that returns a tuple of arrays, the sample with which a careful
            user would check the operation. It has the structure that the mistake needs, and is otherwise generic.
        witness: function that returns a fresh Witness. What it holds may be changed by a wrong backward pass.
        order: 1; 2 where the gradient is right and only its own derivative is wrong.
        hidden: "" where one pass over `inputs` with a random cotangent shows the mistake; else what it takes beyond.
        at_kink: whether `inputs` and witness lie on a kink where the right gradient is a convention (PyTorch's) with
            which numerical derivatives do not agree.
    """

    name: str
    operation: str
    mistake: str
    right: object
    wrong: object
    inputs: object
    witness: object
    order: int = 1
    hidden: str = ""
    at_kink: bool = False

    @property
    def family(self):
        """The file it is in: "softmax"."""
        return self.witness.__module__.rpartition(".")[2]


MUTANTS = {}  # name -> Mutant, in the order of the files


def mutant(name, operation, mistake, **fields):
    """Enter a Mutant in the table."""
    if name in MUTANTS:
        raise ValueError(f"mutant: the name {name!r} is taken")
    MUTANTS[name] = Mutant(name, operation, mistake, **fields)


def gradients(f, witness):
    """The gradients of f (a mutant's `right` or `wrong`) on a witness, as arrays.

    Returns:
        a list with an array per floating-point input, pass after pass. With directions: an array per floating-point
        input and per cotangent, the derivatives of the weighted sum of the first gradients.

    Raises:
        whatever the backward pass raises: ValueError for a gradient of the wrong shape, TypeError for one of the wrong
            dtype.
    """
    second = witness.directions is not None
    inputs = [Tensor(a, a.dtype.kind == "f") for a in witness.inputs]
    cotangents = [Tensor(c, second) for c in witness.cotangents]
    leaves = [x for x in inputs if x.requires_grad]
    with np.errstate(all="ignore"):  # infinities and NaN are part of some mistakes
        outputs = f(*inputs)
        outputs = [y for y in (outputs if isinstance(outputs, tuple) else [outputs]) if y.requires_grad]
        if not second:
            passes = [grad(outputs, leaves, cotangents, retain_graph=True) for _ in range(witness.passes)]
            return [g.numpy() for gradients in passes for g in gradients]
        firsts = grad(outputs, leaves, cotangents, create_graph=True)
        weighted = [(g, d) for g, d in zip(firsts, witness.directions, strict=True) if g.requires_grad]
        sources, directions = zip(*weighted, strict=True)
        seconds = grad(sources, leaves + cotangents, directions, allow_unused=True)
    return [np.zeros(x.shape) if g is None else g.numpy() for g, x in zip(seconds, leaves + cotangents, strict=True)]


# ---- samples -------------------------------------------------------------------------------------------------------


def normal(*shapes):
    """A sample of normally distributed arrays, one per shape."""
    return lambda rng: tuple(rng.standard_normal(shape) for shape in shapes)


def positive(*shapes):
    """A sample of arrays between 0.5 and 2, one per shape."""
    return lambda rng: tuple(rng.uniform(0.5, 2, shape) for shape in shapes)


def spaced(*shapes, gap=0.3):
    """A sample of arrays of both signs, elements at least gap / 2 from each other and gap / 6 from 0: no kink near."""

    def draw(rng, shape):
        count = int(np.prod(shape))
        places = rng.permutation(np.arange(count) - count // 2)
        return gap * (places + rng.uniform(1 / 6, 2 / 3, count)).reshape(shape)

    return lambda rng: tuple(draw(rng, shape) for shape in shapes)
