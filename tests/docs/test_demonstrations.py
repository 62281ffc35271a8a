"""The demonstrations show what their page says, at sizes that take no time."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "demonstrations"
NAMES = ["signal_through_depth", "symmetric_weights", "batch_and_layer_norm"]


def script(name):
    pytest.importorskip("click")
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def depth():
    return script("signal_through_depth")


@pytest.fixture(scope="module")
def signals(depth):
    return depth.measure(batch=64)


def test_he_keeps_the_scale_through_thirty_layers(signals):
    found = signals["He", False]
    assert len(found.activations) == len(found.gradients) == 30
    for scales in (found.activations, found.gradients):
        assert 0.5 < min(scales) / scales[0] and max(scales) / scales[0] < 2
        assert 0.5 < scales[-1] / scales[0] < 2


def test_other_weights_vanish_or_explode_as_the_formula_says(depth, signals):
    small, large, xavier = (signals[name, False] for name in ("std 0.01", "std 0.2", "Xavier"))
    assert small.activations[-1] < 1e-10 and small.gradients[0] < 1e-10
    assert large.activations[-1] > 1e8 and large.gradients[0] > 1e8
    for found, std in ((small, 0.01), (large, 0.2), (xavier, 1 / 16)):
        factor = math.sqrt(256 / 2) * std  # sqrt(fan_in Var(w) / 2)
        assert depth.per_layer(found.activations) == pytest.approx(factor, rel=0.04)
        assert depth.per_layer(found.gradients[::-1]) == pytest.approx(factor, rel=0.04)


def test_batch_norm_rescues_small_and_large_weights(depth, signals):
    for name in ("std 0.01", "std 0.2", "Xavier", "He"):
        found = signals[name, True]
        assert all(0.5 < scale < 0.7 for scale in found.activations)  # of max(x, 0): sqrt(1/2 - 1/(2 pi)) = 0.584
        growth = depth.per_layer(found.gradients[::-1])
        assert growth == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.04)  # Yang et al. 2019


def test_constant_weights_keep_the_scale_and_make_all_units_equal(signals):
    for batch_norm in (False, True):
        found = signals["constant", batch_norm]
        assert max(found.spread) < 1e-6 < 1e-3 < found.activations[-1]
    assert min(signals["He", False].spread) > 0.1


def test_tanh_collapses_or_saturates(depth):
    small, large, xavier = (
        depth.signal(name, activation="tanh", batch=64) for name in ("std 0.01", "std 0.2", "Xavier")
    )
    assert small.activations[-1] < 1e-10
    assert np.mean(np.abs(large.values[-1]) > 0.9) > 0.5 > 0.05 > np.mean(np.abs(xavier.values[-1]) > 0.9)
    normed = depth.signal("std 0.01", True, "tanh", batch=64)
    assert all(scale == pytest.approx(normed.activations[0], rel=0.05) for scale in normed.activations)


def test_units_that_start_equal_stay_equal_to_the_last_bit():
    demonstration = script("symmetric_weights")
    for hidden in (3, 8):
        run = demonstration.train("constant", steps=30, hidden=hidden)
        assert not run.distances.any() and (run.units == run.units[0]).all() and run.distances.shape == (31,)
        assert run.weights[-1, 0] != run.weights[0, 0]  # it has learnt, though
    constant, he = (demonstration.train(scheme, steps=150) for scheme in ("constant", "he"))
    assert constant.losses[-10:].mean() > 2 > 1 > he.losses[-10:].mean()
    assert constant.accuracy < 0.3 and he.accuracy > 0.6
    assert he.distances.min() > 0.05 and len(np.unique(he.units, axis=0)) == 8


def test_batch_norm_takes_columns_and_layer_norm_rows():
    demonstration = script("batch_and_layer_norm")
    x = demonstration.matrix(9, 4, seed=3)
    for axis in (0, 1):
        y = demonstration.normalized(x, axis)
        means, stds = demonstration.statistics(y, axis)
        np.testing.assert_allclose(means, 0, atol=1e-12)
        np.testing.assert_allclose(stds**2, 1, atol=1e-4)
        assert np.abs(demonstration.statistics(y, 1 - axis)[0]).max() > 0.1  # the other way it is not


def test_the_same_seed_gives_the_same_numbers(depth):
    one, again, other = (depth.signal("He", True, depth=4, width=32, seed=seed) for seed in (1, 1, 2))
    assert one.gradients == again.gradients != other.gradients
    symmetric = script("symmetric_weights")
    first, second = (symmetric.train("he", steps=5, seed=4) for _ in range(2))
    assert np.array_equal(first.units, second.units)


@pytest.mark.parametrize("name", NAMES)
def test_the_script_writes_its_pictures_and_prints_the_table_of_its_page(name, tmp_path):
    pytest.importorskip("matplotlib")
    from click.testing import CliRunner

    found = CliRunner().invoke(script(name).main, ["--out", str(tmp_path), "--seed", "0"], catch_exceptions=False)
    assert found.exit_code == 0
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"python docs/demonstrations/{name}.py --out docs/images" in page
    for picture in tmp_path.iterdir():
        assert f"(../images/{picture.name})" in page and picture.stat().st_size < 200_000
    # The figures of the page, where they do not depend on the last bits of a product that BLAS rounds its own way.
    printed = found.output.split()
    if name == "batch_and_layer_norm":
        table = re.findall(r"\d\.\d{5}", page)
        assert table == [number for number in printed if re.fullmatch(r"\d\.\d{5}", number)]


def test_links_of_the_page_resolve():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", page)
    assert len(links) == 4 and all((FOLDER / link).is_file() for link in links)
    assert "docs/demonstrations/README.md" in (ROOT / "README.md").read_text(encoding="utf-8")
