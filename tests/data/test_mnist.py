"""Finding and downloading MNIST and Fashion-MNIST: small stand-ins, and a server on 127.0.0.1."""

import gzip
import hashlib
import http.server
import struct
import threading
import urllib.error
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minidl import data
from minidl.data import idx, mnist, paths
from minidl.kernels import cache_root

NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
MNIST_FIRST = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
FASHION_FIRST = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def make_files(train_labels, seed=0):
    """The bytes of the four files of a small set of noise images."""
    rng = np.random.default_rng(seed)
    files = []
    for labels in (train_labels, [1, 2, 3]):
        pixels = rng.integers(0, 256, (len(labels), 28, 28), np.uint8)
        files.append(struct.pack(">IIII", 0x803, len(labels), 28, 28) + pixels.tobytes())
        files.append(struct.pack(">II", 0x801, len(labels)) + bytes(labels))
    return dict(zip(NAMES, files, strict=True))


def put(folder, files, pack=gzip.compress, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + suffix)).write_bytes(pack(content))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """A machine with an empty home, no system data and no network. Returns the addresses asked for."""
    asked = []

    def offline(url, timeout):
        asked.append((url, timeout))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(mnist, "urlopen", offline)
    monkeypatch.setattr(paths, "SYSTEM_SHARES", (str(tmp_path / "share"),))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("MINIDL_DATA", "XDG_CACHE_HOME", "XDG_DATA_DIRS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    return asked


# --- the folders


def test_cache_root(monkeypatch, tmp_path):
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("MINIDL_CACHE", "~/mine")
    assert cache_root() == tmp_path / "home/mine"
    monkeypatch.setenv("MINIDL_CACHE", "")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_root() == tmp_path / "home/.cache/minidl"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_root() == tmp_path / "home/Library/Caches/minidl"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == tmp_path / "home/Library/Caches/minidl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "minidl"


def test_system_dataset_dirs(monkeypatch, tmp_path):
    share = tmp_path / "share"
    assert paths.system_dataset_dirs() == [share / "datasets"]
    monkeypatch.setenv("XDG_DATA_DIRS", f"/opt/share:relative::{share}")
    assert paths.system_dataset_dirs() == [Path("/opt/share/datasets"), share / "datasets"]


@pytest.mark.parametrize("pack, suffix", [(gzip.compress, ".gz"), (bytes, "")], ids=["gz", "plain"])
def test_images_are_padded_and_scaled(monkeypatch, tmp_path, pack, suffix):
    files = make_files(MNIST_FIRST)
    put(tmp_path / "root/mnist", files, pack, suffix)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "root"))
    dataset = data.load("mnist")
    assert dataset.train_images.shape == (10, 1, 32, 32) and dataset.test_images.shape == (3, 1, 32, 32)
    assert dataset.train_images.dtype == np.float32 and dataset.train_labels.dtype == np.int64
    assert dataset.train_labels.tolist() == MNIST_FIRST and dataset.test_labels.tolist() == [1, 2, 3]
    pixels = np.frombuffer(files[NAMES[0]], np.uint8, offset=16).reshape(10, 28, 28)
    expected = np.pad(pixels / np.float32(255), ((0, 0), (2, 2), (2, 2)))
    assert np.array_equal(dataset.train_images[:, 0], expected)
    assert dataset.mean == pytest.approx((pixels.sum() / 255 / (10 * 32 * 32),))


def test_folders_are_searched_in_order(monkeypatch, tmp_path, nowhere):
    root, share = tmp_path / "root", tmp_path / "xdg"
    monkeypatch.setenv("MINIDL_DATA", str(root))
    monkeypatch.setenv("XDG_DATA_DIRS", str(share))
    folders = [
        tmp_path / "share/datasets/mnist",
        share / "datasets/mnist",
        tmp_path / "cache/data/mnist",
        root,
        root / "mnist",
    ]
    for label, folder in enumerate(folders):  # from the last place to the first: each beats those before it
        put(folder, make_files([label]))
        assert data.load("mnist").train_labels.tolist() == [label]
    assert nowhere == []


@pytest.mark.parametrize("name, own, other", [("mnist", 5, 9), ("fashion-mnist", 9, 5)])
def test_files_in_the_root_are_not_taken_for_the_other_set(monkeypatch, tmp_path, name, own, other):
    first = {5: MNIST_FIRST, 9: FASHION_FIRST}
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    put(tmp_path, make_files(first[own]))
    assert data.load(name).train_labels[0] == own
    put(tmp_path, make_files(first[other]))
    with pytest.raises(data.DatasetNotFoundError):
        data.load(name)
    put(tmp_path / "share/datasets" / name, make_files([8]))
    assert data.load(name).train_labels.tolist() == [8]


# --- found but broken


@pytest.mark.parametrize("place", ["root/mnist", "root", "cache/data/mnist", "share/datasets/mnist"])
@pytest.mark.parametrize("broken", NAMES)
def test_a_broken_file_is_named_and_nothing_is_downloaded(monkeypatch, tmp_path, nowhere, place, broken):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "root"))
    put(tmp_path / place, make_files(MNIST_FIRST))
    path = tmp_path / place / f"{broken}.gz"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(ValueError, match="truncated gzip file") as caught:
        data.load("mnist")
    assert str(caught.value).startswith(f"{path}: ") and nowhere == []


def test_a_missing_file_is_named(monkeypatch, tmp_path, nowhere):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    put(tmp_path / "mnist", make_files(MNIST_FIRST))
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="mnist: holds part of mnist, but not t10k-labels-idx1-ubyte"):
        data.load("mnist")
    assert nowhere == []


def test_wrong_size_of_images(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    files = make_files([1])
    files[NAMES[0]] = struct.pack(">IIII", 0x803, 1, 8, 8) + bytes(64)
    put(tmp_path / "mnist", files)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz: images of 8 x 8 pixels, not 28 x 28"):
        data.load("mnist")


# --- downloads


def test_offline_error_says_what_helps(monkeypatch, tmp_path, nowhere):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "root"))
    with pytest.raises(data.DatasetNotFoundError) as caught:
        data.load("fashion-mnist")
    text = str(caught.value)
    for part in ("root/fashion-mnist", "root", "cache/data/fashion-mnist", "share/datasets/fashion-mnist"):
        assert str(tmp_path / part) in text
    assert "MINIDL_DATA" in text and "apt-get install dataset-fashion-mnist" in text and "no network" in text
    # One file, each mirror once, with a short timeout: an offline machine is not kept waiting.
    assert [url for url, _ in nowhere] == [
        mirror + "train-images-idx3-ubyte.gz" for mirror in mnist.SOURCES["fashion-mnist"].mirrors
    ]
    assert all(timeout <= 10 for _, timeout in nowhere)
    with pytest.raises(data.DatasetNotFoundError) as caught:
        data.load("mnist")
    assert "apt-get" not in str(caught.value) and str(tmp_path / "cache/data/mnist") in str(caught.value)


def test_a_cache_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(data.DatasetNotFoundError, match=f"{tmp_path}/cache/data/mnist: "):
        data.load("mnist")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of a small MNIST, as the only mirror. Returns the folder it serves."""
    folder = tmp_path / "served"
    put(folder, make_files(MNIST_FIRST))
    packed = {name: (folder / f"{name}.gz").read_bytes() for name in NAMES}
    sums = {name: (len(b), f"sha256:{hashlib.sha256(b).hexdigest()}") for name, b in packed.items()}
    # One MD5, as for the real MNIST.
    sums[NAMES[1]] = (len(packed[NAMES[1]]), f"md5:{hashlib.md5(packed[NAMES[1]]).hexdigest()}")
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    mirror = f"http://127.0.0.1:{httpd.server_port}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mnist, "urlopen", urllib.request.urlopen)
    source = mnist.Source((mirror + "gone/", mirror), sums, tuple(MNIST_FIRST))
    monkeypatch.setitem(mnist.SOURCES, "mnist", source)
    yield folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def in_cache(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache/data/mnist").iterdir())


def test_download_then_cache(monkeypatch, tmp_path, server, nowhere):
    assert data.load("mnist").train_labels.tolist() == MNIST_FIRST  # the first mirror answers 404
    assert in_cache(tmp_path) == sorted(f"{name}.gz" for name in NAMES)
    for name in NAMES:
        cached = (tmp_path / "cache/data/mnist" / f"{name}.gz").read_bytes()
        assert cached == (server / f"{name}.gz").read_bytes()
    monkeypatch.setattr(mnist, "urlopen", None)  # a second load must not ask
    assert data.load("mnist").train_labels.tolist() == MNIST_FIRST


def test_an_interrupted_download_goes_on_with_what_is_missing(tmp_path, server):
    put(tmp_path / "cache/data/mnist", {NAMES[0]: make_files(MNIST_FIRST)[NAMES[0]]}, bytes, "")
    (server / f"{NAMES[0]}.gz").unlink()
    assert data.load("mnist").train_labels.tolist() == MNIST_FIRST
    assert in_cache(tmp_path) == sorted([NAMES[0], *(f"{name}.gz" for name in NAMES[1:])])


DAMAGES = {
    "changed": (lambda b: b[:-1] + bytes([b[-1] ^ 1]), "checksum mismatch"),
    "truncated": (lambda b: b[:-1], "bytes and not"),
    "longer": (lambda b: b + b"x", "more bytes and not"),
    "a login page": (lambda b: b"<html>please log in</html>", "26 bytes and not"),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_wrong_download_leaves_nothing(tmp_path, server, damage, message, name):
    path = server / f"{name}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(data.DatasetNotFoundError, match=message):
        data.load("mnist")
    assert in_cache(tmp_path) == ([] if name == NAMES[0] else [f"{NAMES[0]}.gz"])


def test_a_connection_that_breaks_leaves_nothing(monkeypatch, tmp_path):
    class Breaking:
        def __init__(self, url, timeout):
            self.sent = False

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, size):
            if self.sent:
                raise KeyboardInterrupt
            self.sent = True
            assert list((tmp_path / "cache/data/mnist").glob("*.part"))
            return b"first bytes"

    monkeypatch.setattr(mnist, "urlopen", Breaking)
    with pytest.raises(KeyboardInterrupt):
        data.load("mnist")
    assert in_cache(tmp_path) == []


# --- the real files


@pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's dataset-fashion-mnist")
def test_debians_fashion_mnist(monkeypatch):
    monkeypatch.setattr(paths, "SYSTEM_SHARES", ("/usr/share",))
    assert mnist._find("fashion-mnist") == {name: DEBIAN / f"{name}.gz" for name in NAMES}
    images, labels = idx.read_pair(DEBIAN / f"{NAMES[0]}.gz", DEBIAN / f"{NAMES[1]}.gz")
    assert images.shape == (60000, 28, 28) and labels[:10].tolist() == FASHION_FIRST
    assert np.bincount(labels).tolist() == [6000] * 10
    # The numbers that PyTorch's examples normalise Fashion-MNIST with.
    assert images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert np.bincount(idx.read_labels(DEBIAN / f"{NAMES[3]}.gz")).tolist() == [1000] * 10
