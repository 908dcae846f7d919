"""The files of an adapter that was trained here.

In: a folder. Out: what is in it. It needs no torch, so that tables of trainings can be made without.

A finished folder holds adapter_config.json and adapter_model.safetensors (peft's format), provenance.json and
curve.csv. It appears by one rename, whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils.models import ModelError

WEIGHTS, PROVENANCE, CURVE = "adapter_model.safetensors", "provenance.json", "curve.csv"


def is_finished(folder: Path, digest: str) -> bool:
    """Whether `folder` holds the adapter of the training with this digest; False if absent or empty.

    Raises ModelError if it holds anything else, which is never overwritten.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        stored = provenance(folder)["digest"]
    except ModelError:
        raise ModelError(
            f"{folder}: not empty, and no adapter of this package; give another folder"
        ) from None
    if stored != digest:
        raise ModelError(
            f"{folder}: holds the adapter of another training (other base, examples or recipe); give another "
            "folder, or remove this one"
        )
    return (folder / WEIGHTS).is_file()


def provenance(folder: str | Path) -> dict[str, Any]:
    """How the adapter in `folder` was made; ModelError where it does not say."""
    path = Path(folder, PROVENANCE)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return dict(facts, digest=str(facts["digest"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: does not say how the adapter was made ({type(error).__name__}: {error}); train it with "
            "lora.train"
        ) from error


def curve(folder: str | Path) -> pd.DataFrame:
    """The curve of a training: step (from 1), loss (nats a token or pair), learning_rate, examples (seen so far)."""
    return pd.read_csv(Path(folder, CURVE))


def write_facts(folder: Path, facts: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
    """Write provenance and curve into a folder."""
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    (folder / PROVENANCE).write_text(text + "\n", encoding="utf-8")
    pd.DataFrame(rows).to_csv(folder / CURVE, index=False, lineterminator="\n")
