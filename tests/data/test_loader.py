"""DataLoader: what it yields, in which order, in which memory layout, and what it refuses."""

import numpy as np
import pytest

from minidl.data import DataLoader


def make(n=10, c=1, h=2, w=3):
    """Images whose every pixel is different, and labels that tell which image is which."""
    return np.arange(n * c * h * w, dtype=np.float32).reshape(n, c, h, w), np.arange(n) + 100


def order(loader):
    return [int(label) for _, labels in loader for label in labels]


def test_keeps_the_order_and_the_last_batch():
    images, labels = make()
    loader = DataLoader(images, labels, 4)
    batches = list(loader)
    assert len(loader) == 3 and [len(x) for x, _ in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate([x for x, _ in batches]), images)
    assert order(loader) == labels.tolist()


@pytest.mark.parametrize("n, batch_size, all_batches, full_batches", [(10, 4, 3, 2), (8, 4, 2, 2), (3, 3, 1, 1)])
def test_len_and_drop_last(n, batch_size, all_batches, full_batches):
    images, labels = make(n)
    for drop_last, expected in ((False, all_batches), (True, full_batches)):
        loader = DataLoader(images, labels, batch_size, drop_last=drop_last)
        assert len(loader) == expected == len(list(loader))
    assert all(len(x) == batch_size for x, _ in DataLoader(images, labels, batch_size, drop_last=True))


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_and_labels_stay_together(shuffle):
    images, labels = make(n=11, c=3)
    for x, y in DataLoader(images, labels, 4, shuffle=shuffle):
        assert np.array_equal(x, images[y - 100])


def test_shuffling_is_a_permutation_that_depends_on_seed_and_epoch():
    images, labels = make(50)
    loader = DataLoader(images, labels, 7, shuffle=True, seed=3)
    epochs = [order(loader) for _ in range(3)]
    assert all(sorted(epoch) == labels.tolist() for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and labels.tolist() not in epochs
    again = DataLoader(images, labels, 7, shuffle=True, seed=3)
    assert [order(again) for _ in range(3)] == epochs
    assert order(DataLoader(images, labels, 7, shuffle=True, seed=4)) != epochs[0]


def test_an_epoch_does_not_depend_on_those_before_it():
    images, labels = make(50)
    loader = DataLoader(images, labels, 7, shuffle=True)
    epochs = [order(loader) for _ in range(4)]
    fresh = DataLoader(images, labels, 7, shuffle=True)
    fresh.set_epoch(2)
    assert order(fresh) == epochs[2] and fresh.epoch == 3
    assert order(fresh) == epochs[3]
    next(iter(fresh))  # an epoch that was broken off counts as well
    assert fresh.epoch == 5
    fresh.set_epoch(0)
    assert order(fresh) == epochs[0]


def test_the_order_does_not_depend_on_the_batch_size():
    images, labels = make(50)
    assert order(DataLoader(images, labels, 7, shuffle=True)) == order(DataLoader(images, labels, 50, shuffle=True))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "strided"])
@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_channels_last_in_memory(layout, channels):
    images, labels = make(n=6, c=channels, h=4, w=5)
    given = {
        "NCHW": images,
        "NHWC": np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "strided": np.repeat(images, 2, axis=3)[..., ::2],
    }[layout]
    for x, y in DataLoader(given, labels, 4, shuffle=True):
        assert x.shape[1:] == (channels, 4, 5) and x.transpose(0, 2, 3, 1).flags.c_contiguous
        assert channels > 1 or x.flags.c_contiguous
        assert x.dtype == np.float32 and np.array_equal(x, images[y - 100])


def test_changing_a_batch_does_not_change_the_data():
    images, labels = make()
    for x, y in DataLoader(images, labels, 10):
        x += 1
        y += 1
    assert images[0, 0, 0, 0] == 0 and labels[0] == 100


def test_transform_gets_its_own_reproducible_randomness():
    images, labels = make(12)

    def draw(x, rng):
        return np.full((len(x), 1, 1, 1), rng.integers(2**60))

    loader = DataLoader(images, labels, 4, seed=1, transform=draw)
    epochs = [[int(x[0, 0, 0, 0]) for x, _ in loader] for _ in range(2)]
    assert len({value for epoch in epochs for value in epoch}) == 6  # differs by epoch and by batch
    fresh = DataLoader(images, labels, 4, seed=1, transform=draw)
    fresh.set_epoch(1)
    assert [int(x[0, 0, 0, 0]) for x, _ in fresh] == epochs[1]
    # Not the stream of the order, which SeedSequence([seed, epoch, 0]) would give for batch 0.
    assert int(loader._rng(0).integers(2**60)) not in epochs[0]


def test_transform_sees_the_batch_and_may_change_its_size():
    images, labels = make(n=5, h=4, w=4)
    loader = DataLoader(images, labels, 2, transform=lambda x, rng: x[:, :, 1:3, 1:3] * 2)
    assert np.array_equal(np.concatenate([x for x, _ in loader]), images[:, :, 1:3, 1:3] * 2)


def test_transform_must_keep_the_batch():
    images, labels = make()
    loader = DataLoader(images, labels, 4, transform=lambda x, rng: x[0])
    with pytest.raises(ValueError, match=r"transform must return \(4, C, H, W\), not \(1, 2, 3\)"):
        next(iter(loader))


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"batch_size": 0}, ValueError, r"batch_size \(=0\) must be >= 1"),
        ({"batch_size": -3}, ValueError, r"batch_size \(=-3\)"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, not 2.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, not True"),
        ({"batch_size": None}, TypeError, "batch_size must be an integer, not None"),
        ({"seed": -1}, ValueError, r"seed \(=-1\) must be >= 0"),
        ({"seed": "0"}, TypeError, "seed must be an integer, not '0'"),
        ({"labels": np.arange(9)}, ValueError, r"images \(N=10\) and labels \(N=9\) differ"),
        ({"labels": np.zeros((10, 1))}, ValueError, r"labels must be \(N,\), not of shape \(10, 1\)"),
        ({"images": np.zeros((10, 6))}, ValueError, r"images must be \(N, C, H, W\), not of shape \(10, 6\)"),
        (
            {"images": np.zeros((0, 1, 2, 3)), "labels": np.zeros(0)},
            ValueError,
            r"images must not be empty \(N=0\)",
        ),
        ({"batch_size": 11, "drop_last": True}, ValueError, r"batch_size \(=11\) > N \(=10\)"),
    ],
)
def test_errors_name_the_argument_and_its_value(change, error, message):
    images, labels = make()
    with pytest.raises(error, match=f"^DataLoader: .*{message}"):
        DataLoader(**{"images": images, "labels": labels, "batch_size": 4, **change})


def test_numpy_integers_are_integers():
    images, labels = make()
    loader = DataLoader(images, labels, np.int64(4), seed=np.uint32(1))
    loader.set_epoch(np.int32(2))
    assert len(loader) == 3
    with pytest.raises(ValueError, match=r"epoch \(=-1\) must be >= 0"):
        loader.set_epoch(-1)
