"""safetensors in and out: whole files only, and never a pickle."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

import minidl as dl

STATE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b.c": np.array(7), "empty": np.zeros((0, 4))}


def test_round_trip_keeps_values_dtypes_shapes_and_metadata(tmp_path):
    path = tmp_path / "folder" / "w.safetensors"
    channels_last = np.arange(24, dtype=np.float64).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    dl.save({**STATE, "t": dl.Tensor(channels_last)}, path, {"model": "lenet", "mean": [0.5, 1]})
    loaded = dl.load(path)
    for name, array in {**STATE, "t": channels_last}.items():
        assert isinstance(loaded[name], dl.Tensor) and loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name].data, array)
    assert dl.load_metadata(path) == {"model": "lenet", "mean": [0.5, 1]}


def test_foreign_metadata_are_strings(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "w", {"format": "pt"})
    assert dl.load_metadata(tmp_path / "w") == {"format": "pt"}


def test_the_file_is_the_published_format(tmp_path):
    """Read back by hand: eight bytes of header length, a JSON header, row-major little-endian data."""
    path = tmp_path / "w.safetensors"
    dl.save({"a": np.asfortranarray(STATE["a"])}, path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header["a"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert content[8 + length :] == STATE["a"].tobytes()


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    dl.save(STATE, path)
    before = path.read_bytes()

    def fails(arrays, file, metadata):
        with open(file, "wb") as half:
            half.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.numpy.save_file", fails)
    with pytest.raises(OSError, match="disk full"):
        dl.save({"a": np.zeros(3)}, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_files_that_are_none(tmp_path):
    whole = tmp_path / "w.safetensors"
    dl.save(STATE, whole)
    for number, content in enumerate([b"", b"no weights at all", whole.read_bytes()[:-5], whole.read_bytes()[:20]]):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"load: .*{number}.safetensors is no whole safetensors file"):
            dl.load(path)
    with pytest.raises(FileNotFoundError, match="there is no file .*absent"):
        dl.load(tmp_path / "absent")


def test_a_pickle_is_refused_and_not_run(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    content = pickle.dumps(Trap())
    (tmp_path / "w.pkl").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    with zipfile.ZipFile(tmp_path / "hidden.npz", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    (tmp_path / "hidden").write_bytes(content)
    (tmp_path / "w.ckpt").write_bytes(b"HDF or whatever")
    (tmp_path / "w.pt").write_bytes(b"")
    for name, what in (
        ("w.pkl", "a pickle"),
        ("w.pth", "a zip archive"),
        ("hidden.npz", "a zip archive"),
        ("hidden", "a pickle"),
        ("w.ckpt", r"no safetensors file, and \.ckpt is the name of a pickle"),
        ("w.pt", r"no safetensors file, and \.pt is the name of a pickle"),
    ):
        for read in (dl.load, dl.load_metadata):
            with pytest.raises(ValueError, match=rf"{name} is {what}.*which can run code") as raised:
                read(tmp_path / name)
        assert len(str(raised.value).splitlines()) == 5  # what, why, and three lines that convert it
        assert f'torch.load("{tmp_path / name}", map_location="cpu", weights_only=True)' in str(raised.value)
    assert not ran.exists()


def test_the_conversion_that_is_named_works(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"weight": weight.T, "steps": torch.tensor(3)}, "old.pth")
    with pytest.raises(ValueError) as raised:
        dl.load("old.pth")
    exec("\n".join(line.strip() for line in str(raised.value).splitlines()[2:]))
    loaded = dl.load("old.safetensors")
    np.testing.assert_array_equal(loaded["weight"].data, weight.T.numpy())
    assert loaded["steps"].item() == 3


def test_npz_files(tmp_path):
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}
    for name, write in (("plain.npz", np.savez), ("packed.npz", np.savez_compressed), ("w.weights", np.savez)):
        with open(tmp_path / name, "wb") as file:
            write(file, **arrays)
        loaded = dl.load(tmp_path / name)
        assert list(loaded) == list(arrays) and dl.load_metadata(tmp_path / name) == {}
        for key, array in arrays.items():
            assert loaded[key].dtype == array.dtype
            np.testing.assert_array_equal(loaded[key].data, array)


def test_npz_files_that_are_none(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    np.savez(tmp_path / "whole.npz", a=np.zeros(1000))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-200])
    (tmp_path / "flipped.npz").write_bytes(content[:500] + bytes([content[500] ^ 255]) + content[501:])
    for name in ("objects", "cut", "flipped"):
        with pytest.raises(ValueError, match=rf"load: .*{name}.npz is no whole .npz file of plain arrays"):
            dl.load(tmp_path / f"{name}.npz")


def test_numbers_that_numpy_lacks(tmp_path):
    """bfloat16 has float32's exponent: 1.5 is 0x3fc0, -2 is 0xc000. What has no such twin is refused."""
    for kind, content in (("BF16", b"\xc0\x3f\x00\xc0"), ("F8_E4M3", b"\0\0")):
        entry = {"dtype": kind, "shape": [2, 1], "data_offsets": [4, 4 + len(content)]}
        header = json.dumps({"b": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}, "a": entry}).encode()
        file = struct.pack("<Q", len(header)) + header + struct.pack("<f", 7) + content
        (tmp_path / f"{kind}.safetensors").write_bytes(file)
    loaded = dl.load(tmp_path / "BF16.safetensors")
    assert loaded["a"].dtype == np.float32 and loaded["b"].item() == 7
    np.testing.assert_array_equal(loaded["a"].data, [[1.5], [-2]])
    with pytest.raises(
        ValueError, match=r"a in .*F8_E4M3.safetensors holds numbers of a kind that NumPy lacks, F8_E4M3"
    ):
        dl.load(tmp_path / "F8_E4M3.safetensors")


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match="save: 'a' must be a string naming a Tensor or array, it names list"):
        dl.save({"a": [1, 2]}, tmp_path / "w")
    with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
        dl.save({}, tmp_path / "w", {"mean": np.zeros(3)})
    assert not list(tmp_path.iterdir())
