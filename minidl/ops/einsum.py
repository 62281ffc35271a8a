"""einsum: sums of products of named axes, Einstein's notation.

C[i,k] = sum over j of A[i,j] B[j,k] is einsum("ij,jk->ik", A, B). Every operand is first brought to distinct letters
that others still need; then operands are contracted two at a time, from the left. A contraction is linear in both of
its operands, and its derivatives are contractions: with C = A B summed over what C lacks,

    dL/dA = dL/dC conj(B) summed over what A lacks,    dL/dB = conj(A) dL/dC summed over what B lacks.
"""

import math

from ..function import Function
from ._common import as_tensor, astype, result_dtype
from .arithmetic import conj
from .diagonal import diagonal
from .matmul import product
from .reduction import sum
from .shape import permute, squeeze


class Contract(Function):
    """The sum of a * b over the labels that `out` lacks; each label of an operand stands in the other one or in `out`.

    Labels name the axes of a, b and the output; no operand has one twice.
    """

    @staticmethod
    def forward(ctx, a, a_labels, b, b_labels, out):
        need_a, _, need_b, _, _ = ctx.needs_input_grad
        ctx.save_for_backward(a if need_b else None, b if need_a else None)
        ctx.labels = a_labels, b_labels, out
        both = [label for label in out if label in a_labels and label in b_labels]
        only_a = [label for label in out if label not in b_labels]
        only_b = [label for label in out if label not in a_labels]
        summed = [label for label in a_labels if label not in out]
        extent = dict(zip(a_labels, a.shape, strict=True)) | dict(zip(b_labels, b.shape, strict=True))
        stack = [extent[label] for label in both]
        rows, columns, inner = (math.prod(extent[label] for label in own) for own in (only_a, only_b, summed))
        a = a.transpose([a_labels.index(label) for label in both + only_a + summed]).reshape(*stack, rows, inner)
        b = b.transpose([b_labels.index(label) for label in both + summed + only_b]).reshape(*stack, inner, columns)
        y = product(a, b) if summed else a * b  # nothing to sum: (..., rows, 1) * (..., 1, columns)
        order = both + only_a + only_b
        y = y.reshape([extent[label] for label in order])
        return y.transpose([order.index(label) for label in out])

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        need_a, _, need_b, _, _ = ctx.needs_input_grad
        a_labels, b_labels, out = ctx.labels
        return (
            Contract.apply(grad, out, conj(b), b_labels, a_labels) if need_a else None,
            None,
            Contract.apply(conj(a), a_labels, grad, out, b_labels) if need_b else None,
        )


def einsum(equation, *operands):
    """Sum products of the operands' elements over the letters that the output lacks.

    Args:
        equation: for each operand the letters of its axes, separated by commas, then "->" and the letters of the
            output. A letter that several operands have is one axis (extents of 1 are repeated); twice in one operand
            it takes the diagonal. "..." stands for any number of further axes, which broadcast. Without "->" the
            output has the axes of "..." and then, sorted, the letters that occur once. Spaces do not count.
        operands: Tensors, or one list of them.

    Returns:
        a Tensor with the output's axes. Operands are contracted from left to right: their order decides the work.

    Raises:
        ValueError: an equation that cannot be read, or shapes that do not fit it. TypeError: it is not a string.
    """
    if not isinstance(equation, str):
        raise TypeError(f"einsum: equation must be a string, got {type(equation).__name__}")
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = operands[0]
    operands = [as_tensor("einsum", x) for x in operands]
    if not operands:
        raise ValueError(f"einsum: equation {equation!r} needs operands, none is given")
    inputs, output = _labels(equation, operands)
    extents = _extents(equation, operands, inputs)
    return sum_products(operands, inputs, output, extents)


def sum_products(operands, inputs, output, extents):
    """einsum of Tensors whose axes have these labels; `extents` says how long a label is where an operand has 1."""
    dtype = result_dtype(*operands)
    terms = [_distinct(astype(x, dtype), labels, extents) for x, labels in zip(operands, inputs, strict=True)]
    result, labels = terms[0]
    for number, (term, its_labels) in enumerate(terms[1:], start=2):
        needed = set(output).union(*(labels for _, labels in terms[number:]))
        result, labels = _sum_others(result, labels, needed.union(its_labels))
        term, its_labels = _sum_others(term, its_labels, needed.union(labels))
        out = output  # the last contraction puts the axes into its order
        if number < len(terms):
            out = [label for label in dict.fromkeys(labels + its_labels) if label in needed]
        result, labels = Contract.apply(result, labels, term, its_labels, out), out
    result, labels = _sum_others(result, labels, output)
    return permute(result, [labels.index(label) for label in output])


def _error(equation, operands, what):
    return ValueError(f"einsum: {what} (equation {equation!r}, shapes {', '.join(str(x.shape) for x in operands)})")


def _labels(equation, operands):
    """For each operand, and for the output, the list of the labels of its axes: letters, and for "..." -1, -2, …

    The axes of "..." are counted from the last, as broadcasting does.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    subscripts = left.split(",")
    if len(subscripts) != len(operands):
        raise _error(equation, operands, f"the equation has {len(subscripts)} operands, {len(operands)} are given")
    for part in [*subscripts, right]:
        letters = part.replace("...", "", 1)
        if not all(letter.isascii() and letter.isalpha() for letter in letters):
            raise _error(equation, operands, f"{part!r} must consist of letters and at most one '...'")
    inputs = []
    for number, (part, x) in enumerate(zip(subscripts, operands, strict=True)):
        rest = x.ndim - len(part.replace("...", ""))
        if rest < 0 or rest and "..." not in part:
            raise _error(equation, operands, f"{part!r} does not fit the {x.ndim} dimensions of operand {number}")
        inputs.append(_expand_dots(part, rest))
    every = [label for labels in inputs for label in labels]
    dots = -min((label for label in every if isinstance(label, int)), default=0)
    if not arrow:
        once = sorted(label for label in every if isinstance(label, str) and every.count(label) == 1)
        return inputs, _expand_dots("...", dots) + once
    output = _expand_dots(right, dots)
    for label in output:
        if output.count(label) > 1:
            raise _error(equation, operands, f"the output has {label!r} twice")
        if label not in every:
            raise _error(equation, operands, f"the output has {label!r}, which no operand has")
    return inputs, output


def _expand_dots(part, count):
    before, dots, after = part.partition("...")
    return [*before, *(range(-count, 0) if dots else ()), *after]


def _extents(equation, operands, inputs):
    """The extent of every label, which all its axes have or, but for one operand, are 1."""
    extents = {}
    for number, (x, labels) in enumerate(zip(operands, inputs, strict=True)):
        own = {}
        for label, n in zip(labels, x.shape, strict=True):
            if own.setdefault(label, n) != n:
                raise _error(equation, operands, f"{label!r} of operand {number} has extents {own[label]} and {n}")
        for label, n in own.items():
            known = extents.get(label, 1)
            if n != known and n != 1 and known != 1:
                name = f"{label!r}" if isinstance(label, str) else f"dimension {label} of '...'"
                raise _error(equation, operands, f"operand {number} has extent {n} for {name}, another has {known}")
            extents[label] = n if known == 1 else known
    return extents


def _distinct(x, labels, extents):
    """x without repeated labels (their diagonal, which becomes the last axis) and without axes to be repeated."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            del labels[second], labels[first]
            labels.append(label)
    ones = tuple(i for i, label in enumerate(labels) if x.shape[i] == 1 != extents[label])
    return squeeze(x, ones) if ones else x, [label for i, label in enumerate(labels) if i not in ones]


def _sum_others(x, labels, needed):
    """x summed over the labels that nothing else needs."""
    axes = tuple(i for i, label in enumerate(labels) if label not in needed)
    return sum(x, axes) if axes else x, [label for label in labels if label in needed]
