"""The IDX files of MNIST: strict reading of images and labels, plain or gzipped.

An IDX file is a magic number of four bytes (0, 0, a code for the type of the values, the number of
dimensions), one big-endian uint32 per dimension, and the values in C order. The files of MNIST and its
relatives hold unsigned bytes, code 0x08, and this reader takes nothing else.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import math
import os
import zlib
from typing import BinaryIO

import numpy as np

UNSIGNED_BYTE = 0x08
OTHER_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20


def read_images(path: str | os.PathLike) -> np.ndarray:
    """Grey images, uint8 (N, H, W), values 0..255.

    Raises ValueError, naming the file, where it is not a sound IDX file of images.
    """
    return _read(path, ndim=3)


def read_labels(path: str | os.PathLike, num_classes: int = 10) -> np.ndarray:
    """Labels, uint8 (N,), in 0..num_classes - 1.

    Raises ValueError, naming the file, where it is not a sound IDX file of labels or a label is too large.
    """
    labels = _read(path, ndim=1)
    wrong = np.flatnonzero(labels >= num_classes)
    if wrong.size:
        first = wrong[0]
        raise ValueError(f"{path}: label {first} is {labels[first]}, outside 0..{num_classes - 1}")
    return labels


def read_pair(
    images_path: str | os.PathLike, labels_path: str | os.PathLike, num_classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, H, W), and their labels, uint8 (N,).

    Raises ValueError, naming the file, where one of the two is broken or their lengths differ.
    """
    images = read_images(images_path)
    labels = read_labels(labels_path, num_classes)
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: {len(labels)} labels for the {len(images)} images of {images_path}")
    return images, labels


def _read(path: str | os.PathLike, ndim: int) -> np.ndarray:
    """The array of one IDX file. Every fault of the file, its compression included, becomes a ValueError."""
    # Asked first, because opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        raise ValueError(f"{path}: {'not a regular file' if os.path.exists(path) else 'no such file'}")
    try:
        with open(path, "rb") as file:
            # By content and not by suffix: some browsers unpack a .gz download and keep its name.
            compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if not compressed:
                return _parse(path, file, ndim)
            with gzip.GzipFile(fileobj=file) as stream:
                return _parse(path, stream, ndim)
    except EOFError:
        raise ValueError(f"{path}: truncated gzip file") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: corrupt gzip file ({error})") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parse(path: str | os.PathLike, stream: BinaryIO, ndim: int) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: not an IDX file (it starts with {magic.hex(' ') or 'nothing'}, not 00 00)")
    if magic[2] != UNSIGNED_BYTE:
        kind = OTHER_TYPES.get(magic[2], "unknown")
        raise ValueError(f"{path}: type code 0x{magic[2]:02x} ({kind}) where 0x08 (unsigned byte) belongs")
    if magic[3] != ndim:
        raise ValueError(f"{path}: {magic[3]} dimensions where {ndim} belong")

    header = stream.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise ValueError(f"{path}: truncated in its header")
    shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * ndim, 4))
    size = math.prod(shape)
    if size == 0:
        raise ValueError(f"{path}: its header promises shape {shape}, which holds no values")

    # The buffer grows with the bytes that arrive, so that a false header cannot make us allocate its promise.
    # One byte too many is asked for: it shows trailing bytes, and makes gzip reach the end and check its CRC.
    values = bytearray()
    while chunk := stream.read(min(CHUNK, size + 1 - len(values))):
        values += chunk
    if len(values) < size:
        raise ValueError(f"{path}: truncated: {len(values)} of the {size} values of shape {shape}")
    if len(values) > size:
        raise ValueError(f"{path}: trailing bytes after the {size} values of shape {shape}")
    return np.frombuffer(values, np.uint8).reshape(shape)
