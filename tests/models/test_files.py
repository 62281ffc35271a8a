"""Nets in files: what was saved is built again."""

import numpy as np
import pytest

import minidl as dl


def _image(channels=1):
    return dl.Tensor(np.random.default_rng(0).standard_normal((2, channels, 32, 32)).astype(np.float32))


def test_a_net_comes_back_from_its_file(tmp_path):
    net = dl.models.create("lenet", num_classes=7, in_channels=3, init="xavier")
    path = tmp_path / "net.safetensors"
    dl.models.save(net, path, {"classes": list("abcdefg"), "mean": [0.1, 0.2, 0.3], "std": [1, 1, 2]})
    dl.manual_seed(1)
    state = dl.random.generator().bit_generator.state
    again = dl.models.load(path)
    assert dl.random.generator().bit_generator.state == state  # no weights are drawn to be thrown away
    assert not again.training and again.created_as == net.created_as
    np.testing.assert_array_equal(again(_image(3)).data, net(_image(3)).data)
    assert dl.load_metadata(path) == {
        "model": "lenet", "num_classes": 7, "in_channels": 3, "options": {"init": "xavier"},
        "classes": list("abcdefg"), "mean": [0.1, 0.2, 0.3], "std": [1, 1, 2],
    }  # fmt: skip


def test_class_names_and_means_stand_in_for_numbers(tmp_path):
    """As in files of an earlier version."""
    net = dl.models.create("lenet", num_classes=4)
    dl.save(net.state_dict(), tmp_path / "a", {"model": "lenet", "classes": list("abcd"), "mean": [0.5]})
    np.testing.assert_array_equal(dl.models.load(tmp_path / "a")(_image()).data, net(_image()).data)


def test_what_is_no_net_of_ours(tmp_path):
    net = dl.models.create("lenet")
    dl.save(net.state_dict(), tmp_path / "plain")
    with pytest.raises(ValueError, match="load: .*plain does not say what net its weights are of"):
        dl.models.load(tmp_path / "plain")
    dl.save(net.state_dict(), tmp_path / "other", {"model": "lenot"})
    with pytest.raises(ValueError, match="unknown model 'lenot'"):
        dl.models.load(tmp_path / "other")
    dl.save({"a": np.zeros(2)}, tmp_path / "weights", {"model": "lenet"})
    with pytest.raises(KeyError, match=r"missing c1\.weight.*unknown a"):
        dl.models.load(tmp_path / "weights")
    dl.save(net.state_dict(), tmp_path / "classes", {"model": "lenet", "num_classes": 5})
    with pytest.raises(ValueError, match=r"output\.weight is \(10, 84\), must be \(5, 84\)"):
        dl.models.load(tmp_path / "classes")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        dl.models.load(tmp_path / "absent")


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="save: Linear was not built by models.create"):
        dl.models.save(dl.nn.Linear(2, 2), tmp_path / "a")
    with pytest.raises(ValueError, match="save: metadata must not hold model, options"):
        dl.models.save(dl.models.create("lenet"), tmp_path / "a", {"options": 1, "model": "x"})
    assert not list(tmp_path.iterdir())
