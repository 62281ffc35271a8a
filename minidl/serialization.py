"""Weights in safetensors files, and from .npz files. No pickle is ever read or written."""

import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .tensor import Tensor

_METADATA = "minidl"
_KINDS = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64"}
_ZIP = b"PK\x03\x04"
_PICKLES = {b"PK": "a zip archive, as torch.save writes it", b"\x80": "a pickle"}
_PICKLE_NAMES = {".pth", ".pt", ".ckpt", ".pkl", ".pickle"}
_CONVERT = """which can run code when it is read.
Convert it where you trust it and have PyTorch:
    import torch, safetensors.torch
    state = torch.load("{old}", map_location="cpu", weights_only=True)
    safetensors.torch.save_file({{k: v.contiguous() for k, v in state.items()}}, "{new}.safetensors")"""


def atomic_write(path, write):
    """Call write(temporary path), then give the file its name: `path` holds all of it, or what it held before.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    try:
        os.close(handle)
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(state, path, metadata=None):
    """Write a dictionary name -> Tensor or array (a state_dict) to a safetensors file, whole or not at all.

    Args:
        metadata: what JSON can hold, by name, to keep in the file's header.

    Raises:
        TypeError: a value that is neither Tensor nor array, a name that is no string, metadata that JSON cannot hold.
    """
    from safetensors.numpy import save_file

    arrays = {}
    for name, value in state.items():
        array = value.detach().cpu().data if isinstance(value, Tensor) else value
        if not isinstance(name, str) or not isinstance(array, np.ndarray | np.generic):
            raise TypeError(
                f"save: {name!r} must be a string naming a Tensor or array, it names {type(value).__name__}"
            )
        arrays[name] = np.array(array, order="C")  # the format is row-major
    # One entry, because safetensors writes several in an order that changes from process to process.
    header = {_METADATA: json.dumps(metadata, sort_keys=True)} if metadata else None
    atomic_write(path, lambda temporary: save_file(arrays, temporary, header))


def load(path):
    """The Tensors of a safetensors file, or of an .npz file of arrays, by name. bfloat16 becomes float32, exactly.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is neither, or not whole; of a pickle (torch.save's
            files are such) it says how to convert it.
    """
    return {name: Tensor(array) for name, array in _read(path)[0].items()}


def load_metadata(path):
    """The metadata in a safetensors file's header: as given to save, or a foreign file's strings; errors as load's.

    Of an .npz file it is empty.
    """
    header = _read(path, arrays=False)[1]
    return json.loads(header[_METADATA]) if _METADATA in header else header


def _read(path, arrays=True):
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: there is no file {path}")
    with open(path, "rb") as file:
        start = file.read(4)
    if start == _ZIP and (found := _read_npz(path)) is not None:
        return found, {}
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys() if arrays else ()
            return {name: _array(path, file, name) for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        what = next((what for magic, what in _PICKLES.items() if start.startswith(magic)), None)
        if what is None and path.suffix.lower() in _PICKLE_NAMES:
            what = f"no safetensors file, and {path.suffix} is the name of a pickle"
        if what:
            raise ValueError(f"load: {path} is {what}, {_CONVERT.format(old=path, new=path.stem)}") from None
        raise ValueError(f"load: {path} is no whole safetensors file ({error})") from None


def _array(path, file, name):
    """An array of an open file. bfloat16, which NumPy lacks, is the upper half of a float32, and becomes one.

    Raises:
        ValueError: numbers of another kind that NumPy lacks.
    """
    kind = file.get_slice(name).get_dtype()
    if kind in _KINDS:
        return file.get_tensor(name)
    if kind != "BF16":
        raise ValueError(f"load: {name} in {path} holds numbers of a kind that NumPy lacks, {kind}; save it as float32")
    with open(path, "rb") as content:
        length = int.from_bytes(content.read(8), "little")
        entry = json.loads(content.read(length))[name]
        start, stop = entry["data_offsets"]
        content.seek(8 + length + start)
        halves = np.frombuffer(content.read(stop - start), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def _read_npz(path):
    """The arrays of an .npz file; None for another zip archive.

    Raises:
        ValueError: an archive that is broken, or holds pickled objects in place of arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not file.zip.namelist() or any(not name.endswith(".npy") for name in file.zip.namelist()):
                return None
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        if path.suffix.lower() in _PICKLE_NAMES:
            return None
        raise ValueError(f"load: {path} is no whole .npz file of plain arrays ({error})") from None
