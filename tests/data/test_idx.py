"""IDX files, written here byte by byte."""

import gzip
import os
import tracemalloc

import numpy as np
import pytest

from minidl.data import idx

IMAGES = bytes.fromhex("00000803 00000002 00000001 00000003") + bytes([0, 1, 2, 253, 254, 255])
LABELS = bytes.fromhex("00000801 00000002") + bytes([9, 0])


@pytest.fixture
def write(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_reads_plain_and_gzipped_whatever_the_suffix(write, pack, name):
    images = idx.read_images(write(pack(IMAGES), name))
    assert images.dtype == np.uint8 and images.tolist() == [[[0, 1, 2]], [[253, 254, 255]]]
    labels = idx.read_labels(write(pack(LABELS), name))
    assert labels.dtype == np.uint8 and labels.tolist() == [9, 0]


def test_reads_more_than_one_chunk(write):
    values = np.random.default_rng(0).integers(0, 256, (3, 1000, 500), np.uint8)
    content = bytes.fromhex("00000803 00000003 000003e8 000001f4") + values.tobytes()
    assert np.array_equal(idx.read_images(write(content)), values)
    assert np.array_equal(idx.read_images(write(gzip.compress(content, 1))), values)


def test_pairs(write):
    images, labels = idx.read_pair(write(IMAGES, "images"), write(LABELS, "labels"))
    assert images.shape == (2, 1, 3) and labels.tolist() == [9, 0]
    short = write(bytes.fromhex("00000801 00000001 07"), "short")
    with pytest.raises(ValueError, match="short: 1 labels for the 2 images of .*images"):
        idx.read_pair(write(IMAGES, "images"), short)


def with_bad_crc(content):
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    return bytes(packed)


def with_bad_deflate(content):
    packed = bytearray(gzip.compress(content))
    packed[10] = 0xFF  # a block type that deflate does not have
    return bytes(packed)


HUGE = bytes.fromhex("00000803 ffffffff ffffffff ffffffff")
FAULTS = {
    "empty": (b"", "not an IDX file"),
    "three bytes": (IMAGES[:3], "not an IDX file"),
    "wrong magic": (b"\x89PNG" + IMAGES[4:], "not an IDX file .*89 50 4e 47"),
    "float type": (b"\0\0\x0d\x03" + IMAGES[4:], r"type code 0x0d \(float32\)"),
    "unknown type": (b"\0\0\x42\x03" + IMAGES[4:], r"type code 0x42 \(unknown\)"),
    "labels for images": (LABELS, "1 dimensions where 3 belong"),
    "255 dimensions": (b"\0\0\x08\xff" + IMAGES[4:], "255 dimensions where 3 belong"),
    "half a header": (IMAGES[:9], "truncated in its header"),
    "no payload": (IMAGES[:16], r"truncated: 0 of the 6 values of shape \(2, 1, 3\)"),
    "one value short": (IMAGES[:-1], "truncated: 5 of the 6 values"),
    "one value more": (IMAGES + b"\0", "trailing bytes after the 6 values"),
    "zero images": (
        bytes.fromhex("00000803 00000000 0000001c 0000001c"),
        r"shape \(0, 28, 28\), which holds",
    ),
    "zero and huge": (bytes.fromhex("00000803 ffffffff 00000000 ffffffff"), "which holds no values"),
    "huge": (HUGE + b"\0" * 100, "truncated: 100 of the 79228162458924105385300197375 values"),
    "gzip: one value short": (gzip.compress(IMAGES[:-1]), "truncated: 5 of the 6 values"),
    "gzip: one value more": (gzip.compress(IMAGES + b"\0"), "trailing bytes"),
    "gzip: two members": (gzip.compress(IMAGES) + gzip.compress(IMAGES), "trailing bytes"),
    "gzip: magic only": (b"\x1f\x8b", "truncated gzip"),
    "gzip: truncated": (gzip.compress(IMAGES)[:-12], "truncated gzip"),
    "gzip: checksum cut off": (gzip.compress(IMAGES)[:-3], "truncated gzip"),
    "gzip: wrong checksum": (with_bad_crc(IMAGES), "corrupt gzip"),
    "gzip: corrupt stream": (with_bad_deflate(IMAGES), "corrupt gzip"),
    "gzip: garbage behind": (gzip.compress(IMAGES) + b"garbage", "corrupt gzip"),
    "gzip: huge": (gzip.compress(HUGE + b"\0" * 100), "truncated: 100 of the"),
}


@pytest.mark.parametrize("content, message", FAULTS.values(), ids=FAULTS.keys())
def test_faults_are_named_in_one_line_with_the_path(write, content, message):
    path = write(content, "faulty.idx")
    with pytest.raises(ValueError, match=message) as caught:
        idx.read_images(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_false_header_allocates_nothing(write, pack):
    # Three terabytes of 28 x 28 images are promised, 100 bytes are there.
    path = write(pack(bytes.fromhex("00000803 ffffffff 0000001c 0000001c") + b"\0" * 100))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="truncated"):
            idx.read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


def test_labels_out_of_range(write):
    path = write(bytes.fromhex("00000801 00000003 090a07"))
    with pytest.raises(ValueError, match=r"file: label 1 is 10, outside 0\.\.9"):
        idx.read_labels(path)
    assert idx.read_labels(path, num_classes=11).tolist() == [9, 10, 7]


def test_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "": "not a regular file",
        "pipe": "not a regular file",
        "none": "no such file",
    }.items():
        with pytest.raises(ValueError, match=message) as caught:
            idx.read_images(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_allowed(write):
    path = write(IMAGES)
    path.chmod(0)
    with pytest.raises(ValueError, match=r"file: cannot be read \(Permission denied\)"):
        idx.read_images(path)
