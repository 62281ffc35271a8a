"""dropout and dropout2d, and the random numbers they are made of."""

import numpy as np
import pytest
from helpers import check_second_gradient, layouts, normal

import minidl as dl
from minidl import ops, random
from minidl.gradcheck.samples import seeded
from minidl.kernels import dropout as kernel

ALL = 2**32 - 1


def kept(shape, p, seed=0, f=ops.dropout):
    """Where ones stay."""
    dl.manual_seed(seed)
    return f(dl.Tensor(np.ones(shape, np.float32)), p).data != 0


@pytest.mark.parametrize(
    "counter, key, words",
    [  # the known answers that the paper's authors ship with their library, Random123
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ALL,) * 4, (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, words):
    counter = [np.array([c], np.uint64) for c in counter]
    assert tuple(int(w[0]) for w in kernel.philox(counter, [np.uint64(k) for k in key])) == words


@pytest.mark.parametrize("call, seed", [(0, 0), (2**64 - 1, 2**64 - 1), (0x0370734413198A2E, 0x299F31D0A4093822)])
def test_the_compiled_form_has_the_same_words(call, seed):
    """A threshold equal to a word keeps it, one more drops it: so each word is known exactly."""
    words = kernel.philox(
        [np.array([v], np.uint64) for v in (0, 0, call % 2**32, call >> 32)],
        [np.uint64(seed % 2**32), np.uint64(seed >> 32)],
    )
    for place, word in enumerate(int(w[0]) for w in words):
        for threshold in (word, word + 1):
            y = np.empty(4)
            kernel.forward.cpu(np.ones(4), np.uint64(seed), np.uint64(call), np.uint32(threshold), 1.0, y)
            assert y[place] == (word >= threshold)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_kept_as_should_be_and_independently(p):
    """Of a million; bounds of five standard deviations of a fair coin."""
    mask = kept(1_000_000, p, seed=3)
    n, q = mask.size, 1 - p
    assert abs(mask.mean() - q) < 5 * np.sqrt(p * q / n)
    for lag in (1, 2, 3, 4, 5, 64, 1024, 4096):
        both = (mask[:-lag] & mask[lag:]).mean()
        assert abs(both - q * q) < 5 * np.sqrt(2 * q * q * (1 - q * q) / n), lag
    counts = np.bincount(mask.reshape(-1, 8) @ (1 << np.arange(8)), minlength=256)
    ones = np.array([bin(pattern).count("1") for pattern in range(256)])
    expected = n / 8 * q**ones * p ** (8 - ones)
    likely = expected > 5
    chi_square = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    degrees = likely.sum() - 1
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


def test_calls_and_seeds_give_other_masks():
    x = dl.Tensor(np.ones(100_000, np.float32))
    dl.manual_seed(5)
    masks = [ops.dropout(x).data != 0 for _ in range(3)]
    dl.manual_seed(6)
    masks.append(ops.dropout(x).data != 0)
    for i in range(4):
        for j in range(i):
            assert abs((masks[i] == masks[j]).mean() - 0.5) < 5 * 0.5 / np.sqrt(100_000)
    dl.manual_seed(5)
    assert np.array_equal(ops.dropout(x).data != 0, masks[0])


@pytest.mark.parametrize("seed", [0, 2**64 - 1, 2**80 + 1])
def test_large_seeds(seed):
    assert 0.4 < kept(1000, 0.5, seed).mean() < 0.6


def test_what_is_kept_is_scaled():
    x = normal(50, 40)
    dl.manual_seed(0)
    y = ops.dropout(dl.Tensor(x), 0.2).data
    assert np.array_equal(y, np.where(y != 0, x * (1 / 0.8), 0)) and 0.7 < (y != 0).mean() < 0.9
    assert kept(1_000_000, 0.3).mean() / 0.7 == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("f", [ops.dropout, ops.dropout2d])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 67, 3, 1), (3, 4, 5)])
def test_layouts_have_the_same_mask(f, shape):
    x, gradient = normal(*shape), normal(*shape, seed=1)
    first = None
    for name, array in layouts(x):
        for _, g in layouts(gradient):
            dl.manual_seed(0)
            leaf = dl.Tensor(array, True)
            y = f(leaf, 0.4)
            y.backward(dl.Tensor(g))
            first = first or (y.data, leaf.grad.data)
            assert np.array_equal(y.data, first[0]) and np.array_equal(leaf.grad.data, first[1]), name
    assert np.array_equal(first[0] != 0, first[1] != 0)


def test_the_position_is_that_of_the_element_in_n_h_w_c():
    flat = kept(120, 0.5)
    assert np.array_equal(kept((4, 30), 0.5), flat.reshape(4, 30))
    assert np.array_equal(kept((2, 3, 4, 5), 0.5), flat.reshape(2, 4, 5, 3).transpose(0, 3, 1, 2))
    assert np.array_equal(kept((8, 15, 2, 2), 0.5, f=ops.dropout2d)[..., 0, 0], flat.reshape(8, 15))


def test_dropout2d_takes_whole_channels():
    mask = kept((50, 40, 3, 2), 0.3, f=ops.dropout2d)
    assert (mask == mask[:, :, :1, :1]).all() and 0.65 < mask.mean() < 0.75
    mask = kept((50, 40, 3), 0.3, f=ops.dropout2d)
    assert (mask == mask[:, :, :1]).all()


@pytest.mark.parametrize("f", [ops.dropout, ops.dropout2d])
def test_derivatives(f):
    check_second_gradient(seeded(lambda x: f(x, 0.3)), normal(2, 3, 2, 2))
    assert dl.gradgradcheck(seeded(lambda x: f(x, 0.3)), (normal(2, 3, 4, 1),))


def test_gradcheck_notices_masks_that_are_drawn_again():
    dl.manual_seed(0)
    with pytest.raises(dl.GradcheckError, match="not deterministic"):
        dl.gradcheck(ops.dropout, (normal(4, 5),))


@pytest.mark.parametrize("f", [ops.dropout, ops.dropout2d])
def test_the_ends_of_p_and_evaluation(f):
    x = dl.Tensor(normal(2, 3, 4, 5), True)
    state = random.get_state()
    assert f(x, 0.0) is x and f(x, 0.9, training=False) is x
    y = f(x, 1.0)
    y.sum().backward()
    assert not y.data.any() and not x.grad.data.any() and y.shape == x.shape
    assert random.get_state()[1:] == state[1:]  # none of them used a call's number


def test_p_next_to_one():
    dl.manual_seed(0)
    y = ops.dropout(dl.Tensor(np.ones(1000)), 1 - 2**-40)
    assert not y.data.any()


def test_nan_stays_as_in_pytorch():
    dl.manual_seed(0)
    y = ops.dropout(dl.Tensor(np.full(100, np.nan)), 0.5)
    assert np.isnan(y.data).all() and np.isnan(ops.dropout(dl.tensor([np.nan]), 1.0).data).all()


def test_empty():
    assert ops.dropout(dl.Tensor(np.zeros((0, 3)))).shape == (0, 3)
    assert ops.dropout2d(dl.Tensor(np.zeros((0, 3, 4, 4)))).shape == (0, 3, 4, 4)


def test_checkpoint_makes_the_same_mask_and_the_count_goes_on():
    results = []
    for wrap in (lambda f, *args: f(*args), dl.checkpoint):
        dl.manual_seed(1)
        x = dl.Tensor(normal(30, 40), True)
        y = wrap(lambda x: ops.dropout(ops.dropout(x, 0.2) * 3, 0.5), x)
        (y * y).sum().backward()
        results.append((y.data, x.grad.data, ops.dropout(dl.Tensor(np.ones(100))).data))
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_reference_and_any_number_of_threads_give_the_same_bits(dtype):
    x, before, results = normal(300_001, dtype=dtype), dl.get_num_threads(), []
    for form, threads in (("reference", 1), ("cpu", 1), ("cpu", before)):
        try:
            dl.set_num_threads(threads)
            with dl.use_kernels(form):
                dl.manual_seed(9)
                results.append(ops.dropout(dl.Tensor(x), 0.3).data)
        finally:
            dl.set_num_threads(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[1], results[2])


X = dl.Tensor(np.zeros((2, 3)))


@pytest.mark.parametrize(
    "f, args, error, match",
    [
        (ops.dropout, (X, -0.1), ValueError, "dropout: p must be from 0 to 1, got -0.1"),
        (ops.dropout, (X, 1.5, False), ValueError, "dropout: p must be from 0 to 1, got 1.5"),
        (ops.dropout, (X, float("nan")), ValueError, "dropout: p must be from 0 to 1, got nan"),
        (ops.dropout, (X, "half"), TypeError, "dropout: p must be a number, got 'half'"),
        (ops.dropout, (X.astype("complex64"),), TypeError, "dropout: input must be float32 or float64, got complex64"),
        (ops.dropout2d, (X, 2), ValueError, "dropout2d: p must be from 0 to 1, got 2"),
        (ops.dropout2d, (X,), ValueError, r"dropout2d: input must be \(N, C, H, W\) or .* shape \(2, 3\)"),
    ],
)
def test_errors(f, args, error, match):
    with pytest.raises(error, match=match):
        f(*args)
