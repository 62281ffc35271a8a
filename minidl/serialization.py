"""Weights in safetensors files. No pickle is ever read or written."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from .tensor import Tensor

_METADATA = "minidl"
_PICKLES = {b"PK": "a zip archive, as torch.save writes it", b"\x80": "a pickle"}


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
        array = value.data if isinstance(value, Tensor) else value
        if not isinstance(name, str) or not isinstance(array, np.ndarray | np.generic):
            raise TypeError(
                f"save: {name!r} must be a string naming a Tensor or array, it names {type(value).__name__}"
            )
        arrays[name] = np.array(array, order="C")  # the format is row-major
    # One entry, because safetensors writes several in an order that changes from process to process.
    header = {_METADATA: json.dumps(metadata, sort_keys=True)} if metadata else None
    atomic_write(path, lambda temporary: save_file(arrays, temporary, header))


def load(path):
    """The Tensors of a safetensors file, by name.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is no safetensors file, or not whole.
    """
    return {name: Tensor(array) for name, array in _read(path)[0].items()}


def load_metadata(path):
    """The metadata in a safetensors file's header: as given to save, or a foreign file's strings; errors as load's."""
    header = _read(path)[1]
    return json.loads(header[_METADATA]) if _METADATA in header else header


def _read(path):
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load: there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        with open(path, "rb") as file:
            start = file.read(2)
        for magic, what in _PICKLES.items():
            if start.startswith(magic):
                raise ValueError(
                    f"load: {path} is {what}, which can run code when it is read. Convert it where you trust it: "
                    "safetensors.torch.save_file(torch.load(path, weights_only=True), new_path)"
                ) from None
        raise ValueError(f"load: {path} is no whole safetensors file ({error})") from None
