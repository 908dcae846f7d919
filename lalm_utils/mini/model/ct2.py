"""Reads the Whisper encoder out of a CTranslate2 model file.

In: the bytes of `model.bin`, format version 6. Out: numpy arrays, under CTranslate2's names or under those
of transformers' Whisper encoder. Nothing is executed; every length in the file is checked.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FORMAT_VERSION = 6
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
RENAMED = {  # within one layer; linear_0 of self_attention is fused and handled apart
    "self_attention/layer_norm": "self_attn_layer_norm",
    "self_attention/linear_1": "self_attn.out_proj",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
}
LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


@dataclass
class _Cursor:
    """A position in the file's bytes that only moves forward and never past the end."""

    content: memoryview
    at: int = 0

    def take(self, count: int) -> memoryview:
        if self.at + count > len(self.content):
            raise ValueError(f"CTranslate2 file ends at byte {len(self.content)}, {self.at + count} expected")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        return bytes(self.take(self.number("H"))).rstrip(b"\0").decode("ascii")


def read_tensors(content: bytes, prefix: str = "encoder/") -> dict[str, np.ndarray]:
    """The tensors whose names start with `prefix`, in the file's dtypes and shapes.

    The file: version, model class, its revision, the number of tensors; for each its name, rank, dimensions,
    dtype, byte count and bytes; then the aliases. Raises ValueError where the content does not follow that.
    """
    cursor = _Cursor(memoryview(content))
    version, kind, _ = cursor.number("I"), cursor.text(), cursor.number("I")
    if (version, kind) != (FORMAT_VERSION, "WhisperSpec"):
        raise ValueError(
            f"CTranslate2 file of version {version}, {kind!r}; {FORMAT_VERSION}, 'WhisperSpec' expected"
        )
    tensors = dict(_read_tensor(cursor) for _ in range(cursor.number("I")))
    for _ in range(cursor.number("I")):  # aliases: pairs of names
        cursor.text(), cursor.text()
    if cursor.at != len(content):
        raise ValueError(f"CTranslate2 file has {len(content) - cursor.at} bytes after its last alias")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read_tensor(cursor: _Cursor) -> tuple[str, np.ndarray]:
    name, rank = cursor.text(), cursor.number("B")
    shape = tuple(cursor.number("I") for _ in range(rank))
    code, n_bytes = cursor.number("B"), cursor.number("I")
    if code not in DTYPES:
        raise ValueError(f"CTranslate2 tensor {name}: dtype code {code}, one of {sorted(DTYPES)} expected")
    dtype = np.dtype(DTYPES[code])
    if n_bytes != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"CTranslate2 tensor {name}: {n_bytes} bytes for shape {shape} of {dtype}")
    return name, np.frombuffer(cursor.take(n_bytes), dtype).reshape(shape)


def encoder_state(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same encoder under transformers' names, float32: 67 arrays for tiny.en.

    Query, key and value, which CTranslate2 stacks into one matrix, are split; the key bias, which Whisper
    lacks and CTranslate2 stores as zeros, is dropped. `encoder/num_heads` is no weight and left out. Raises
    ValueError on a tensor it cannot place.
    """
    state: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if name != "encoder/num_heads":
            state.update(_rename(name, tensor.astype(np.float32)))
    return state


def _rename(name: str, tensor: np.ndarray) -> dict[str, np.ndarray]:
    _, *path, leaf = name.split("/")
    if path == ["position_encodings"]:
        return {"embed_positions.weight": tensor}
    if leaf not in LEAVES:
        raise ValueError(f"CTranslate2 tensor {name}: no such tensor in a Whisper encoder")
    if len(path) == 1 and path[0] in ("conv1", "conv2", "layer_norm"):
        return {f"{path[0]}.{LEAVES[leaf]}": tensor}
    layer, module = path[0].removeprefix("layer_"), "/".join(path[1:])
    if module == "self_attention/linear_0":
        return _split(f"layers.{layer}.self_attn", LEAVES[leaf], tensor)
    if not layer.isdecimal() or module not in RENAMED:
        raise ValueError(f"CTranslate2 tensor {name}: no such tensor in a Whisper encoder")
    return {f"layers.{layer}.{RENAMED[module]}.{LEAVES[leaf]}": tensor}


def _split(prefix: str, leaf: str, stacked: np.ndarray) -> dict[str, np.ndarray]:
    """Query, key and value, in this order, from their stack of 3 d rows."""
    query, key, value = np.split(stacked, 3)
    parts = {f"{prefix}.q_proj.{leaf}": query, f"{prefix}.v_proj.{leaf}": value}
    if leaf == "weight":
        return parts | {f"{prefix}.k_proj.weight": key}
    if key.any():
        raise ValueError(f"{prefix}: the key bias must be zero, its largest entry is {np.abs(key).max()}")
    return parts
