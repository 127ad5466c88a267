"""Reads PyTorch's legacy checkpoint files with numpy alone, and nothing but tensors from them."""

import collections
import os
import pickle

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64, "HalfStorage": np.float16}


def _rebuild_tensor(storage, offset, size, stride, *_):
    """Describes a tensor; its values follow later in the file (torch._utils._rebuild_tensor_v2)."""
    return storage, offset, size, stride


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and ordered dictionaries; any other class is refused, for a pickle can run code."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return name
        raise pickle.UnpicklingError(
            f"checkpoint wants {module}.{name}; expected tensors only. It is not a plain state_dict: save one with "
            "torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)"
        )

    def persistent_load(self, pid):
        kind, storage_type, key, _location, count = pid[:5]
        return storage_type, key, count


def read_torch_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a legacy (before PyTorch 1.6) `.pth` state dictionary.

    The layout is that of `torch.serialization._legacy_save`: four pickles (magic number, protocol, system
    information, the object), the list of storage keys, then each storage as an int64 count and its raw
    values.

    Args:
        path: the file.

    Returns:
        Dictionary of tensor name to `numpy.ndarray`.

    Raises:
        ValueError: the file is not such a checkpoint, or it is cut off.
    """
    with open(path, "rb") as file:
        try:
            magic = pickle.load(file) if file.read(1) == b"\x80" and file.seek(0) == 0 else None
        except Exception:
            magic = None
        if magic != _MAGIC:
            raise ValueError(
                f"{path}: not a legacy PyTorch checkpoint (expected its magic number at the start)"
            )
        pickle.load(file), pickle.load(file)
        tensors = _TensorUnpickler(file).load()
        storage_types = {key: kind for (kind, key, _), *_ in tensors.values()}
        storages = {}
        for key in pickle.load(file):
            dtype = np.dtype(_DTYPES[storage_types[key]])
            count = int.from_bytes(file.read(8), "little")
            data = file.read(count * dtype.itemsize)
            if len(data) != count * dtype.itemsize:
                raise ValueError(
                    f"{path}: storage {key} holds {len(data)} bytes, expected {count * dtype.itemsize}; copy it anew"
                )
            storages[key] = np.frombuffer(data, dtype)
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], size, [step * storages[key].itemsize for step in stride]
        ).copy()
        for name, ((_, key, _), offset, size, stride) in tensors.items()
    }
