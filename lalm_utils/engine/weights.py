"""Where a model's files are, and what they are: a fingerprint by content.

In: a name and the function that resolves it to a folder. Out: the folder of the model, that of its adapter if it is
one, and a SHA-256 over all in them that decides replies. It reads bytes and JSON only; what weights
mean is not known here, but a file of weights that is none is refused (`refuse_damaged`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lalm_utils.cache import cache_dir, sha256_of
from lalm_utils.messages import short_repr
from lalm_utils.models import ModelError

ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SPEECH_LORA = "speech-lora"  # where Phi-4-multimodal keeps a LoRA that belongs to it
TEXTS = (
    ADAPTER,
    f"{SPEECH_LORA}/{ADAPTER}",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
PATTERNS = ("*.safetensors", "*.safetensors.index.json", *TEXTS)  # what is fetched from the hub,
UNUSED = ("consolidated*", "original/*", "vision-lora/*")  # less the same weights in other layouts
# They say where a model came from or how it was stored, and do not change what it replies.
INCIDENTAL = {
    "_name_or_path",
    "base_model_name_or_path",
    "dtype",
    "revision",
    "torch_dtype",
    "transformers_version",
}
MAX_NAME = 4096  # characters of a base's name
REMEMBERED_BYTES = 1_000_000  # smaller files are hashed at every start


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The folders that a model is loaded from."""

    folder: Path  # config.json, safetensors, processor
    adapter: Path | None = None  # adapter_config.json, adapter_model.safetensors
    base: str = ""  # what an adapter's configuration may call the model: "mini", a hub id, or the folder

    @property
    def own_lora(self) -> Path | None:
        """The folder of a LoRA that belongs to the model itself, if it has one: Granite Speech, Phi-4."""
        folders = (self.folder, self.folder / SPEECH_LORA)
        return next((folder for folder in folders if (folder / ADAPTER).is_file()), None)

    def name(self, asked_for: str | Path) -> str:
        """A name for results: a hub id as it is, a folder by its last part, an adapter with its base."""
        local = Path(asked_for).expanduser().is_dir()
        if self.adapter is not None and (local or "/" not in str(asked_for)):
            return f"{self.folder.resolve().name}+{self.adapter.resolve().name}"
        return self.folder.resolve().name if local else str(asked_for)


def local_folder(name: str | Path, *, revision: str | None = None, near: Path | None = None) -> Path:
    """The folder of that name, of which there are no revisions; `load_model.resolve` knows other names too."""
    for folder in (near / name, name) if near else (name,):
        with suppress(OSError, RuntimeError, ValueError):  # too long for a path, or the home of nobody
            if (path := Path(folder).expanduser()).is_dir():
                return path
    raise ModelError(f"{name}: no such folder. Correct the path.")


def find(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    base: str | None = None,
    revision: str | None = None,
    resolve: Callable[..., Path] = local_folder,
) -> Weights:
    """The files of `name`: a model's, or those of a peft adapter, whose base is found as well.

    The base of an adapter is `base`, else what its configuration names. `resolve(name, revision=..., near=...)` is
    the folder of a name; a relative one is looked for in `near` first. Raises ModelError where something is missing.
    """
    folder = resolve(name, revision=revision)
    if (folder / ADAPTER).is_file() and not (folder / "config.json").is_file():
        if adapter is not None:
            raise ModelError(
                f"{name} is itself an adapter: give its base model with adapter={str(adapter)!r}."
            )
        folder, adapter = _base_of(folder, base, resolve), folder
        name = folder
    _check(folder, "config.json")
    called = str(folder.resolve()) if Path(name).expanduser() == folder else str(name)
    if (own_lora := Weights(folder=folder).own_lora) and not (own_lora / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{own_lora}: holds {ADAPTER} and no {ADAPTER_WEIGHTS}. Fetch the model again.")
    if adapter is None:
        return Weights(folder=folder, base=called)
    adapter = resolve(adapter)
    _check(adapter, ADAPTER)
    return Weights(folder=folder, adapter=adapter, base=called)


def fingerprint(weights: Weights, dtype: str, *, scale: float = 1.0) -> str:
    """SHA-256 (hex) over weights, configuration, tokenizer and processor files, and the dtype computed in.

    The dtype counts because bfloat16 and float32 give different replies, and so does the scale of an adapter.
    Names, dates and version notes do not.
    """
    digest = hashlib.sha256(f"dtype {dtype}\n".encode())
    if weights.adapter and scale != 1:
        digest.update(f"scale {float(scale)}\n".encode())
    for part, folder in (("model", weights.folder), ("adapter", weights.adapter)):
        for path in _files(folder) if folder else ():
            digest.update(f"{part} {path.name} {_content_of(path)}\n".encode())
    return digest.hexdigest()


def fetch(name: str, revision: str | None) -> Path:
    """The folder of a hub id in the hub's own cache: safetensors, configurations and tokenizers alone."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(PATTERNS), ignore_patterns=list(UNUSED)
            )
        )
    except Exception as error:  # its errors share no base class
        raise ModelError(
            f"{name}: no such folder here, and it cannot be fetched from the hub "
            f"({type(error).__name__}: {str(error).splitlines()[0]}). Correct the name, go online, or give a "
            "folder."
        ) from error


def _base_of(adapter: Path, base: str | None, resolve: Callable[..., Path]) -> Path:
    name = base or _object(adapter / ADAPTER).get("base_model_name_or_path")
    if not name:
        raise ModelError(f"{adapter / ADAPTER} names no base model: give one with base=...")
    if not isinstance(name, str) or not name.isprintable() or len(name) > MAX_NAME:
        raise ModelError(
            f"{adapter / ADAPTER} names a base {short_repr(name)}: give the right one with base=..."
        )
    try:
        return resolve(name, near=adapter)
    except ModelError as error:
        raise ModelError(
            f"{adapter}: the adapter's base is not to be had; give it with base=... {error}"
        ) from error


def refuse_damaged(weights: Weights) -> None:
    """ModelError for a file of weights that is cut short, or whose header is not true; nothing is loaded."""
    for folder in filter(None, (weights.folder, weights.adapter)):
        for path in _safetensors(folder):
            try:
                with safe_open(path, "np"):
                    pass
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{path}: damaged weights ({error}). Fetch or make the file again."
                ) from error


def _check(folder: Path, config: str) -> None:
    if not (folder / config).is_file():
        content = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ModelError(
            f"{folder}: holds no {config} (found: {content}). Give the folder that save_pretrained wrote."
        )
    if not any(path.is_file() for path in folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder}: holds no *.safetensors. Other formats can run code when read: convert them."
        )


def _files(folder: Path) -> list[Path]:
    texts = [folder / name for name in TEXTS if (folder / name).is_file()]
    return sorted([*texts, *_safetensors(folder)])


def _safetensors(folder: Path) -> list[Path]:
    """Regular files alone: a pipe of that name would be read for ever."""
    paths = (*folder.glob("*.safetensors"), *folder.glob(f"{SPEECH_LORA}/*.safetensors"))
    return [path for path in paths if path.is_file()]


def _content_of(path: Path) -> str:
    if path.name in ("config.json", ADAPTER):
        config = _essential(_object(path))
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return _remembered_sha256(path.resolve())


def _object(path: Path) -> dict[str, Any]:
    """What a configuration says; ModelError where it is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}). Fetch it again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds {short_repr(value)}, and a JSON object is needed. Fetch it again.")
    return value


def _essential(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _essential(inner) for name, inner in value.items() if name not in INCIDENTAL}
    return value


def _remembered_sha256(path: Path) -> str:
    """`sha256_of(path)`, read again only if size or date have changed: gigabytes take half a minute."""
    facts = path.stat()
    if facts.st_size < REMEMBERED_BYTES:
        return sha256_of(path)
    memory, key = cache_dir() / "fingerprints.json", f"{path} {facts.st_size} {facts.st_mtime_ns}"
    try:
        hashes = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        hashes = {}
    if key not in hashes:
        hashes[key] = sha256_of(path)
        _write(memory, hashes)
    return hashes[key]


def _write(path: Path, value: dict[str, str]) -> None:
    """Replace a JSON file in one step. Where the cache cannot be written, the next start hashes again."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(value, indent=1), encoding="utf-8")
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
