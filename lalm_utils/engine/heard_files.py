"""What a model's audio tower made of clips, on disk, within a budget of bytes.

In and out: (tokens, width) embeddings by the SHA-256 of a clip's samples. A file each, in safetensors, in a folder
named after what made them, so that another tower, dtype or window never finds them. Processes may share the folder.
It does not know how clips are heard.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

NAME, SUFFIX = "heard", ".safetensors"
KEPT = 0.9  # share of the budget that is kept when it is overrun: files are not listed at every new one

log = logging.getLogger(__name__)


class HeardFiles:
    """Embeddings in `folder`, `budget` bytes at most. Those that were not read for longest make room."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget = folder, budget
        folder.mkdir(parents=True, exist_ok=True)
        self.size = sum(size for _, size, _ in self._files())

    def get(self, sha256: str) -> torch.Tensor | None:
        """The embedding, on the CPU, or None. A damaged file is one that is not there."""
        path = self._path(sha256)
        try:
            heard = load_file(path)[NAME]
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, OSError) as error:
            log.warning("%s is damaged and heard anew: %s", path, error)
            return None
        return heard

    def put(self, sha256: str, heard: torch.Tensor) -> None:
        """Write one embedding, whole or not at all; a full disk costs the file and no reply."""
        path, raw = self._path(sha256), save({NAME: heard.detach().cpu().contiguous()})
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_bytes(raw)
            os.replace(part, path)
        except OSError as error:
            log.warning("%s: what was heard is not kept: %s", path, error)
            part.unlink(missing_ok=True)
            return
        self.size += len(raw)
        if self.size > self.budget:
            self._make_room()

    def _make_room(self) -> None:
        files = self._files()
        self.size = sum(size for _, size, _ in files)
        for path, size, _ in sorted(files, key=lambda file: file[2]):
            if self.size <= KEPT * self.budget:
                break
            path.unlink(missing_ok=True)  # another process may have been first
            self.size -= size

    def _files(self) -> list[tuple[Path, int, int]]:
        """Path, bytes and time of last use of each file."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            found.append((path, facts.st_size, facts.st_mtime_ns))
        return found

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{SUFFIX}"


def made_by(*modules: nn.Module, settings: str) -> str:
    """SHA-256 over the modules' weights, their dtype and `settings`: what decides how a clip is heard."""
    digest = hashlib.sha256(settings.encode())
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
