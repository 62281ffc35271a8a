"""Backward passes of real operations, each with one mistake: to learn from, and to grade gradient checks with.

**A mutant** is a program into which a fault was put on purpose. Mutation testing (DeMillo, Lipton and Sayward, "Hints
on test data selection: help for the practicing programmer", 1978) asks how many mutants a test suite "kills", that is,
tells from the right program. Here the right program is an operation and the suite is a gradient check. Every mistake is
one that people make, or that some check cannot see; forward passes are right to the last bit.

**A witness** proves that a mutant differs at all: small arrays, most of them such that both gradients can be worked out
by hand, on which the wrong gradient is not the right one (or the backward pass raises, where its shape is wrong).

    from minidl.explain.mutants import MUTANTS, gradients

    m = MUTANTS["softmax-without-the-sum"]
    m.operation  # "softmax"
    m.mistake  # what is wrong, for the teacher
    gradients(m.right, m.witness())  # [array([[ 1., -1.]])]
    gradients(m.wrong, m.witness())  # [array([[2., 0.]])]

To grade a check, hand it what a careful user would: the operation and a sample.

    killed = [m.name for m in MUTANTS.values() if not check(m.wrong, m.inputs(numpy.random.default_rng(0)))]

`m.inputs` gives float64 arrays, and integers or bools where the operation takes indices or a mask. `m.order` is 2 where
the gradient itself is right and a check of second derivatives is called for. `m.hidden` says what it takes where a
single pass over such a sample cannot show the mistake: another memory layout, a second pass. A check that rejects
everything kills all mutants, so see that it passes all `m.right`, but for those that lie on a kink (`m.at_kink`).

Each file is a family, `m.family`. It reads from the top: the right operation where minidl has none, then wrong ones.
"""

# ruff: noqa: I001 (the order of the files is the order of the table)
from ._mutant import MUTANTS, Mutant, Witness, gradients
from . import (
    arithmetic,
    elementwise,
    reduction,
    shape,
    indexing,
    product,
    convolution,
    pooling,
    normalization,
    softmax,
    losses,
    state,
    second_order,
)

__all__ = [
    "MUTANTS", "Mutant", "Witness", "arithmetic", "convolution", "elementwise", "gradients", "indexing", "losses",
    "normalization", "pooling", "product", "reduction", "second_order", "shape", "softmax", "state",
]  # fmt: skip
