"""gradcheck graded: it kills every mutant, passes every right operation, and every operation has samples."""

import warnings

import numpy as np
import pytest

import minidl as dl
from minidl import ops
from minidl.explain.mutants import MUTANTS
from minidl.gradcheck.samples import SAMPLES

SEEDS = range(20)
# Without a derivative, or with one that is zero everywhere: comparisons, logic, places, whole numbers.
WITHOUT_GRADIENT = {
    "all", "allclose", "any", "argmax", "argmin", "argsort", "argwhere", "bitwise_and", "bitwise_not", "bitwise_or",
    "bitwise_xor", "ceil", "count_nonzero", "eq", "equal", "floor", "floor_divide", "ge", "gt", "isclose", "isfinite",
    "isinf", "isnan", "le", "logical_and", "logical_not", "logical_or", "lt", "ne", "nonzero", "round", "sign", "trunc",
}  # fmt: skip


def passes(f, inputs, order, seed, **options):
    check = dl.gradcheck if order == 1 else dl.gradgradcheck
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.GradcheckWarning)
        return check(f, inputs, raise_exception=False, seed=seed, **options)


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_every_mutant_is_killed(mutant):
    for seed in range(3):
        assert not passes(mutant.wrong, mutant.inputs(np.random.default_rng(seed)), mutant.order, seed), seed


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_no_mutants_right_twin_is_accused(mutant):
    for seed in range(3):
        assert passes(mutant.right, mutant.inputs(np.random.default_rng(seed)), mutant.order, seed), seed


@pytest.mark.parametrize("name", SAMPLES)
def test_no_operation_is_accused(name):
    """First derivatives over all seeds; second ones, and fast mode, over a few."""
    for sample in SAMPLES[name]:
        for seed in SEEDS:
            inputs = sample.inputs(np.random.default_rng(seed))
            assert passes(sample.f, inputs, 1, seed), (sample.label, seed)
            if seed < 2:
                assert passes(sample.f, inputs, 2, seed), (sample.label, seed)
                assert passes(sample.f, inputs, 1, seed, fast_mode=True), (sample.label, seed)


def test_every_operation_has_samples():
    assert set(ops.__all__) - set(SAMPLES) == WITHOUT_GRADIENT
