"""MNIST and Fashion-MNIST: found on this machine, or downloaded once into the cache.

Both are 60,000 training and 10,000 test images of 28 x 28 grey pixels in ten classes, and both come as four
IDX files of the same four names. They are looked for, plain or gzipped, in this order:

1. `$MINIDL_DATA/<name>/`;
2. `$MINIDL_DATA/` itself, unless its first labels show that it holds the other of the two sets;
3. `<cache>/data/<name>/` (`minidl.kernels.cache_root`);
4. `<share>/datasets/<name>/` of the system (`paths.system_dataset_dirs`), where Debian's package
   `dataset-fashion-mnist` puts its files.

Only when none of these has the files are they downloaded, into 3. A file that is found but broken is an error
and never a reason to look further.

Sources: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998; H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
machine learning algorithms", 2017 (arXiv:1708.07747).
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from minidl.data import idx, paths
from minidl.kernels import cache_root

TIMEOUT = 10  # seconds without an answer, so that a machine without a network soon says so
CHUNK = 1 << 20
PAD = 2  # the digits of the 1998 paper stand in the middle of a 32 x 32 field


class DatasetNotFoundError(RuntimeError):
    """The files of a data set are not here and could not be downloaded. The text says what to do about it."""


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and how its files are known to be the right ones.

    files maps a file's name, without .gz, to the size in bytes and the checksum of the .gz file.
    """

    mirrors: tuple[str, ...]
    files: dict[str, tuple[int, str]]
    first_labels: tuple[int, ...]
    package: str | None = None


SOURCES = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        # The MD5 sums are those of torchvision's datasets/mnist.py, the sizes those of TensorFlow Datasets.
        files={
            "train-images-idx3-ubyte": (9912422, "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            "train-labels-idx1-ubyte": (28881, "md5:d53e105ee54ea40749a09fcbcd1e9432"),
            "t10k-images-idx3-ubyte": (1648877, "md5:9fb629c4189551a2d022fa330f9573f3"),
            "t10k-labels-idx1-ubyte": (4542, "md5:ec29112dd5afa0611ce80d1b7f02629c"),
        },
        first_labels=(5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    ),
    "fashion-mnist": Source(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        # SHA-256 sums of files whose MD5 sums are those in the README of zalandoresearch/fashion-mnist.
        files={
            "train-images-idx3-ubyte": (
                26421880,
                "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            "train-labels-idx1-ubyte": (
                29515,
                "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "t10k-images-idx3-ubyte": (
                4422102,
                "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            "t10k-labels-idx1-ubyte": (
                5148,
                "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
        first_labels=(9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
        package="dataset-fashion-mnist",
    ),
}


def load_mnist(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels of `name`, "mnist" or "fashion-mnist".

    Images are float32 (N, 1, 32, 32) in [0, 1]: 28 x 28 pixels divided by 255, with a frame of 2 zeros as in
    LeCun et al., 1998, sections II.B and III.A. Labels are int64 (N,) in 0..9.

    Raises DatasetNotFoundError where the files are neither here nor to be downloaded, and ValueError, naming
    the file, where they are here but broken.
    """
    files = _find(name) or _download(name)
    arrays = []
    for part in ("train", "t10k"):
        path = files[f"{part}-images-idx3-ubyte"]
        images, labels = idx.read_pair(path, files[f"{part}-labels-idx1-ubyte"])
        if images.shape[1:] != (28, 28):
            raise ValueError(f"{path}: images of {images.shape[1]} x {images.shape[2]} pixels, not 28 x 28")
        padded = np.zeros((len(images), 1, 28 + 2 * PAD, 28 + 2 * PAD), np.float32)
        np.divide(images, np.float32(255), out=padded[:, 0, PAD:-PAD, PAD:-PAD])
        arrays += [padded, labels.astype(np.int64)]
    return tuple(arrays)


def _cache(name: str) -> Path:
    return cache_root() / "data" / name


def _folders(name: str) -> Iterator[Path]:
    """The folders to look in, in order."""
    root = paths.data_root()
    if root:
        yield root / name
        yield root
    yield _cache(name)
    for folder in paths.system_dataset_dirs():
        yield folder / name


def _files_in(folder: Path, name: str) -> dict[str, Path]:
    """Those of the data set's files that the folder holds."""
    candidates = {file: (folder / f"{file}.gz", folder / file) for file in SOURCES[name].files}
    found = {file: next(filter(os.path.exists, options), None) for file, options in candidates.items()}
    return {file: path for file, path in found.items() if path}


def _find(name: str) -> dict[str, Path] | None:
    """The four files in the first folder that has them, or None. ValueError where one has only some."""
    for folder in _folders(name):
        files = _files_in(folder, name)
        if folder == paths.data_root() and _is_another_set(files, name):
            continue
        missing = sorted(SOURCES[name].files.keys() - files.keys())
        if not missing:
            return files
        # In the cache, some of the files are what an interrupted download leaves: the next fetches the rest.
        if files and folder != _cache(name):
            raise ValueError(f"{folder}: holds part of {name}, but not {', '.join(missing)} (plain or .gz)")
    return None


def _is_another_set(files: dict[str, Path], name: str) -> bool:
    """Whether the training labels begin as those of another known set: the names of the files cannot tell."""
    path = files.get("train-labels-idx1-ubyte")
    if path is None:
        return False
    first = tuple(idx.read_labels(path)[:10].tolist())
    return any(first == source.first_labels for other, source in SOURCES.items() if other != name)


def _download(name: str) -> dict[str, Path]:
    """Fetches into the cache what it lacks. The four files, or DatasetNotFoundError."""
    source, folder = SOURCES[name], _cache(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_found(name, [f"{folder}: {error.strerror}"]) from error
    files = _files_in(folder, name)
    for file, (size, checksum) in source.files.items():
        if file in files:
            continue
        files[file] = folder / f"{file}.gz"
        failures = []
        for mirror in source.mirrors:
            url = f"{mirror}{file}.gz"
            try:
                _fetch(url, files[file], size, checksum)
                break
            except (OSError, HTTPException) as error:
                failures.append(f"{url}: {error}")
        else:
            raise _not_found(name, failures)
    return files


def _fetch(url: str, target: Path, size: int, checksum: str) -> None:
    """Downloads url to target. OSError where it fails or is not the file of that size and checksum.

    Until it is known to be right the file bears another name: what stands under `target` is always whole.
    """
    algorithm, expected = checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    received = 0
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with urlopen(url, timeout=TIMEOUT) as response, open(part, "xb") as file:
            # Stops at the first byte too many: a wrong server must not fill the disk.
            while chunk := response.read(min(CHUNK, size + 1 - received)):
                received += len(chunk)
                digest.update(chunk)
                file.write(chunk)
        if received != size:
            raise OSError(f"{'more' if received > size else received} bytes and not {size}")
        if digest.hexdigest() != expected:
            raise OSError(f"checksum mismatch ({algorithm} {digest.hexdigest()}, not {expected})")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _not_found(name: str, failures: list[str]) -> DatasetNotFoundError:
    source = SOURCES[name]
    ways = [f"set MINIDL_DATA to a folder whose subfolder {name} holds {', '.join(source.files)}"]
    if source.package:
        ways.append(f"install the Debian package: apt-get install {source.package}")
    ways.append(f"put the files into {_cache(name)}, or connect to a network: minidl downloads them to there")
    return DatasetNotFoundError(
        f"{name}: not found in {', '.join(map(str, _folders(name)))}; "
        f"download failed: {'; '.join(failures)}. One of these helps:\n" + "\n".join(f"  - {way}" for way in ways)
    )
