"""The user's cache: where built things live, and how each is built once.

In: a folder name and a function that fills a folder. Out: a folder that is whole, built now or earlier.
The base model and the benchmark both come through here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from lalm_utils.progress import is_interactive

MANIFEST = "manifest.json"
HASHED_BYTES = (
    16_000_000  # larger files are checked by size alone: hashing weights at every start costs seconds
)

log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """$LALM_UTILS_CACHE itself, else `lalm_utils` in the platform's cache folder. May not exist yet."""
    if override := os.environ.get("LALM_UTILS_CACHE"):
        return Path(override).expanduser().absolute()
    return _platform_cache() / "lalm_utils"


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the XDG specification tells readers to ignore relative paths
    return configured if configured.is_absolute() else Path.home() / ".cache"


def build_once(
    name: str, build: Callable[[Path], Mapping[str, Any] | None], *, notice: str = "building"
) -> Path:
    """The folder `cache_dir()/name`, filled by `build(empty folder)` unless it is there and whole.

    `name` must change with the recipe, since a whole folder is never built again. What `build` returns is
    kept in the manifest under "facts". The folder appears by one rename, under a file lock: other processes
    see all of it or nothing, and wait rather than build twice. A folder whose files differ from the manifest
    in size (or content, up to 16 MB) is replaced. `notice` is logged before a build. If `build` raises, the
    exception passes through and nothing is left behind. Raises OSError where the cache cannot be written.
    """
    folder = cache_dir() / name
    if is_whole(folder):
        return folder
    _make_writable(folder.parent)
    with FileLock(folder.parent / f".{name}.lock"):
        if not is_whole(folder):
            # For people who wait; an executed notebook would keep this machine's path.
            log.log(logging.WARNING if is_interactive() else logging.INFO, "%s: %s", folder, notice)
            _replace(folder, build)
    return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a built folder: {"files": {path: {"bytes": int, "sha256": str}}, "facts": {...}}."""
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def is_whole(folder: Path) -> bool:
    """Whether every file that the folder's manifest lists is there, unchanged as far as it is checked."""
    try:
        files = read_manifest(folder)["files"]
        return bool(files) and all(_matches(folder / path, facts) for path, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(path: Path, facts: Mapping[str, Any]) -> bool:
    if path.stat().st_size != facts["bytes"]:
        return False
    return facts["bytes"] > HASHED_BYTES or sha256_of(path) == facts["sha256"]


def _make_writable(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise OSError(
            f"{parent}: the cache folder cannot be written ({error}). Set LALM_UTILS_CACHE to another one."
        ) from error


def _replace(folder: Path, build: Callable[[Path], Mapping[str, Any] | None]) -> None:
    """Build beside `folder`, then put the result in its place. The caller holds the lock."""
    prefix = f".{folder.name}.building-"
    for stale in folder.parent.glob(f"{prefix}*"):  # left by a build that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=prefix) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        facts = build(new)
        _write_manifest(new, facts or {})
        if folder.exists():
            folder.rename(Path(scratch, "old"))
        new.rename(folder)


def _write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in paths
    }
    text = json.dumps({"files": files, "facts": dict(facts)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
