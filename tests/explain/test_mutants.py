"""The mutants: each right operation is right, each wrong one is wrong, by how much, and only where it says so."""

from pathlib import Path

import numpy as np
import pytest
from helpers import check_gradient, check_second_gradient, close, normal, rng

import minidl as dl
from minidl.explain import mutants
from minidl.explain.mutants import MUTANTS, Mutant, Witness, gradients
from minidl.explain.mutants._mutant import mutant

# By how much the wrong gradient differs from the right one at the witness, scaled by the latter's largest element.
MARGIN = 0.05
MARGINS = {
    "gelu-of-the-approximation": 5e-4,
    "gelu-with-two-digits-exchanged": 2e-4,
    "batch-norm-without-a-small-eps": 0.02,
    "one-percent-off": 0.0099,
    "one-in-a-thousand-off-in-one-element": 0.00099,
}
# The same on the samples, where rounding is all that stands against it.
SAMPLE_MARGIN = 0.01
SAMPLE_MARGINS = {
    "gelu-of-the-approximation": 1e-4,
    "gelu-with-two-digits-exchanged": 5e-5,
    "batch-norm-without-eps": 1e-3,
    "batch-norm-without-a-small-eps": 5e-4,
    "one-percent-off": 0.0099,
    "one-in-a-thousand-off-in-one-element": 1e-5,
    "gradient-in-single-precision": 1e-5,
}
RAISE = {  # a backward pass that raises instead, and what
    "add-without-unbroadcast": ValueError,
    "sum-not-expanded": ValueError,
    "conv2d-of-the-size-seen": ValueError,
    "gradient-of-another-dtype": TypeError,
    "repeated-grad-changed-in-place": ValueError,
}
# Right gradients at the witness, worked out by hand: at kinks, and where differences of large numbers lose digits.
EXPECTED = {
    "maximum-ties-to-both": [[0.5, 1], [0.5, 0]],
    "amax-ties-counted-twice": [[[1, 0, 1]]],
    "max-pool-ties-counted-twice": [[[[[1, 0], [0, 0]]]]],
    "norm-of-zero": [[[3, 4], [0, 0]]],
    "gradient-in-single-precision": [[-0.5, 0.5]],
    "softmax-without-the-sum": [[[1, -1]]],
    "prod-by-division": [[[6, 0, 0]]],
    "exp-of-a-constant": [[6], [3]],
    "mul-of-constants": [[7], [5], [5 * 3 + 7 * 2]],
    "norm-of-a-constant": [[[0, 0]], [[5]]],
}
NUMERICAL = {  # differences of sums of large numbers have fewer digits
    "gradient-in-single-precision": 1e-5,
    "logsumexp-that-overflows": 1e-5,
    "softplus-that-overflows": 1e-5,
    "sigmoid-that-overflows": 1e-5,
    "one-in-a-thousand-off-in-one-element": 1e-5,
}

each = pytest.mark.parametrize("m", MUTANTS.values(), ids=MUTANTS)
first_order = pytest.mark.parametrize("m", [m for m in MUTANTS.values() if m.order == 1], ids=lambda m: m.name)
second_order = pytest.mark.parametrize("m", [m for m in MUTANTS.values() if m.order == 2], ids=lambda m: m.name)


def outputs(f, arrays):
    with np.errstate(all="ignore"), dl.no_grad():
        result = f(*map(dl.Tensor, arrays))
    return [y.data for y in (result if isinstance(result, tuple) else (result,))]


def samples(m):
    return [m.inputs(rng(seed)) for seed in range(3)]


def on_sample(m, arrays):
    """A witness made of a sample, with random cotangents (and directions)."""
    shapes = [y.shape for y in outputs(m.right, arrays) if y.dtype.kind == "f"]
    cotangents = [normal(*shape, seed=100 + i) for i, shape in enumerate(shapes)]
    directions = [normal(*a.shape, seed=200 + i) for i, a in enumerate(arrays)] if m.order == 2 else None
    return Witness(tuple(a.copy() for a in arrays), tuple(cotangents), directions=directions)


def difference(right, wrong):
    """The largest over all gradients, scaled by the right one's largest element; infinite for NaN."""
    assert len(right) == len(wrong)
    worst = 0
    for r, w in zip(right, wrong, strict=True):
        assert r.shape == w.shape and np.isfinite(r).all()
        if not np.isfinite(w).all():
            return np.inf
        scale = np.abs(r).max() or 1
        worst = max(worst, np.abs(r - w).max() / scale)
    return worst


def assert_wrong(m, make_witness, margin):
    """Fresh witnesses for both: a wrong backward pass may change what it is given."""
    if m.name in RAISE and (make_witness is m.witness or not m.hidden):
        with pytest.raises(RAISE[m.name]):
            gradients(m.wrong, make_witness())
    else:
        got = difference(gradients(m.right, make_witness()), gradients(m.wrong, make_witness()))
        assert got >= margin, f"differs by {got:.2g}"


# ---- the collection ------------------------------------------------------------------------------------------------


def test_there_are_enough_of_every_kind():
    orders = [m.order for m in MUTANTS.values()]
    assert len(orders) >= 80 and orders.count(1) >= 64 and orders.count(2) >= 6 and set(orders) == {1, 2}
    files = Path(mutants.__file__).parent.glob("[a-z]*.py")
    assert {m.family for m in MUTANTS.values()} == {file.stem for file in files}
    assert {m.family for m in MUTANTS.values() if m.order == 2} == {"second_order"}
    assert len({m.operation for m in MUTANTS.values()}) >= 60


@each
def test_each_is_described(m):
    assert MUTANTS[m.name] is m
    assert m.name == m.name.lower() and " " not in m.name and "_" not in m.name
    assert 20 < len(m.mistake) < 320 and m.mistake.endswith((".", ")"))


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="the name 'softmax-without-the-sum' is taken"):
        mutant("softmax-without-the-sum", "softmax", "", right=None, wrong=None, inputs=None, witness=None)
    assert list(MUTANTS.values())[0].family == "arithmetic" and isinstance(MUTANTS["softmax-without-the-sum"], Mutant)


def test_each_exception_names_a_mutant():
    for table in (MARGINS, SAMPLE_MARGINS, RAISE, EXPECTED, NUMERICAL):
        assert table.keys() <= MUTANTS.keys()
    assert {m.name for m in MUTANTS.values() if m.at_kink} <= EXPECTED.keys()


@each
def test_samples_are_small_repeatable_and_generic(m):
    for a, b, other in zip(m.inputs(rng(1)), m.inputs(rng(1)), m.inputs(rng(2)), strict=True):
        assert isinstance(a, np.ndarray) and (a.dtype == np.float64 or a.dtype.kind in "bi")
        np.testing.assert_array_equal(a, b)
        assert a.shape == other.shape
        assert a.dtype.kind != "f" or not np.array_equal(a, other)
    assert sum(a.size for a in m.inputs(rng(0))) <= 200
    assert any(a.dtype.kind == "f" for a in m.inputs(rng(0)))


@each
def test_witnesses_are_small_and_fresh(m):
    first, second = m.witness(), m.witness()
    for name in ("inputs", "cotangents", "directions"):
        for a, b in zip(getattr(first, name) or (), getattr(second, name) or (), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.size <= 50
            assert not np.may_share_memory(a, b) or not a.flags.writeable
    assert (first.directions is not None) == (m.order == 2)


# ---- right and wrong -----------------------------------------------------------------------------------------------


@each
def test_the_forward_pass_is_right_to_the_last_bit(m):
    for arrays in [*samples(m), m.witness().inputs]:
        for right, wrong in zip(outputs(m.right, arrays), outputs(m.wrong, arrays), strict=True):
            assert right.dtype == wrong.dtype
            np.testing.assert_array_equal(right, wrong)


@each
def test_the_right_gradient_is_the_numerical_one(m):
    if m.at_kink:
        return  # see test_right_gradients_by_hand and test_mutants_beside_torch.py
    check = check_gradient if m.order == 1 else check_second_gradient
    for arrays in [m.inputs(rng(0)), m.witness().inputs]:
        if m.name == "gradient-in-single-precision" and arrays[0].max() > 1e6:
            continue  # see test_right_gradients_by_hand
        floating = [a for a in arrays if a.dtype.kind == "f"]

        def f(*tensors, arrays=arrays):
            tensors = iter(tensors)
            with np.errstate(all="ignore"):
                return m.right(*(next(tensors) if a.dtype.kind == "f" else dl.Tensor(a) for a in arrays))

        check(f, *floating, rtol=NUMERICAL.get(m.name, 1e-6))


@pytest.mark.parametrize("name", EXPECTED)
def test_right_gradients_by_hand(name):
    m = MUTANTS[name]
    for got, expected in zip(gradients(m.right, m.witness()), EXPECTED[name], strict=True):
        close(got, expected, 1e-12)


@each
def test_the_wrong_gradient_is_wrong_at_the_witness(m):
    assert_wrong(m, m.witness, MARGINS.get(m.name, MARGIN))


@each
def test_the_wrong_gradient_is_wrong_on_samples(m):
    """What a check can be expected to see."""
    if not m.hidden:
        for arrays in samples(m):
            assert_wrong(m, lambda arrays=arrays: on_sample(m, arrays), SAMPLE_MARGINS.get(m.name, SAMPLE_MARGIN))


@pytest.mark.parametrize("m", [m for m in MUTANTS.values() if m.hidden], ids=lambda m: m.name)
def test_hidden_mistakes_do_not_show_on_samples(m):
    assert m.order == 1
    for arrays in samples(m):
        right, wrong = (gradients(f, on_sample(m, arrays)) for f in (m.right, m.wrong))
        assert difference(right, wrong) < 1e-14


@second_order
def test_first_gradients_of_second_order_mutants_are_right(m):
    for witness in [m.witness(), *[on_sample(m, arrays) for arrays in samples(m)]]:
        first = Witness(witness.inputs, witness.cotangents)
        assert difference(gradients(m.right, first), gradients(m.wrong, first)) < 1e-14


@first_order
def test_right_gradients_do_not_depend_on_layout_or_passes(m):
    """A check that tries what shows the hidden mistakes must find nothing in the right operations."""
    witness = on_sample(m, m.inputs(rng(0)))
    expected = gradients(m.right, witness)
    fortran = [[np.array(a, order="F") for a in arrays] for arrays in (witness.inputs, witness.cotangents)]
    got = gradients(m.right, Witness(*fortran, passes=2))
    assert difference(expected * 2, got) < 1e-12


# ---- the protocol --------------------------------------------------------------------------------------------------


def test_gradients_follow_the_witness():
    cube = lambda x: x * x * x  # noqa: E731
    assert [g.tolist() for g in gradients(cube, Witness([[2]], [[5]]))] == [[60]]
    assert [g.tolist() for g in gradients(cube, Witness([[2]], [[5]], passes=2))] == [[60], [60]]
    # The sum of direction · 3 x² · cotangent, differentiated by x and by the cotangent.
    assert [g.tolist() for g in gradients(cube, Witness([[2]], [[5]], directions=[[7]]))] == [[420], [84]]
    # A sum's gradient does not depend on its input: zeros.
    second = gradients(lambda x: x.sum(), Witness([[2, 3]], [np.array(5.0)], directions=[[1, 1]]))
    assert [g.tolist() for g in second] == [[0, 0], 2]


def test_gradients_keep_strides_and_pass_indices_on():
    seen = []
    witness = Witness([np.ones((2, 3), order="F"), np.array([0, 1])], [np.ones((2, 3))])
    (got,) = gradients(lambda x, index: seen.append((x.data, index.data)) or x[index], witness)
    assert seen[0][0] is witness.inputs[0] and seen[0][1] is witness.inputs[1] and got.tolist() == [[1] * 3] * 2
