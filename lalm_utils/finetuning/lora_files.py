"""The files of a fine-tuning: checkpoints while it runs, and the adapter's folder once it is done.

In: tensors, a peft configuration and facts. Out: folders that appear by one rename, whole or not at all. It
knows neither models nor how they learn.

A finished folder holds adapter_config.json and adapter_model.safetensors (peft's format), provenance.json and
curve.csv. Checkpoints lie beside it, in `.<name>.training`, and are removed when it is there.
"""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lalm_utils.models import ModelError

WEIGHTS, PROVENANCE, CURVE = "adapter_model.safetensors", "provenance.json", "curve.csv"


class Configuration(Protocol):
    """What writes adapter_config.json: a configuration of peft."""

    def save_pretrained(self, save_directory: str) -> None:
        """Write it into a folder."""


def finished(folder: Path, digest: str) -> bool:
    """Whether `folder` holds the adapter of the training with this digest; False if absent or empty.

    Raises ModelError if it holds anything else, which is never overwritten.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = provenance(folder)["digest"]
    except ModelError:
        raise ModelError(
            f"{folder}: not empty, and no adapter of this package; give another folder"
        ) from None
    if found != digest:
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
    """The training curve: step (from 1), loss (nats per answer token), learning_rate, examples (seen so far)."""
    return pd.read_csv(Path(folder, CURVE))


class Checkpoints:
    """States of one training, the newest kept. A state of another training is not taken up."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.place, self.digest = folder.with_name(f".{folder.name}.training"), digest

    def save(self, step: int, weights: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Keep the state after `step` steps, and drop those before it."""
        self.place.mkdir(exist_ok=True)
        former = self._all()
        scratch = Path(tempfile.mkdtemp(dir=self.place))
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, scratch / WEIGHTS)
        torch.save({**state, "digest": self.digest}, scratch / "state.pt")
        scratch.rename(self.place / f"step-{step:07d}")
        for old in former:
            shutil.rmtree(old)

    def latest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Weights and state to go on from, on the CPU; None to begin. ModelError if they cannot be read."""
        for newest in self._all()[-1:]:
            try:
                state = torch.load(newest / "state.pt", map_location="cpu", weights_only=True)
                if state["digest"] == self.digest:
                    return load_file(newest / WEIGHTS), state
            except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError,
                    SafetensorError) as error:  # fmt: skip
                raise ModelError(
                    f"{newest}: a damaged checkpoint ({type(error).__name__}); remove the folder "
                    f"{self.place} to begin anew"
                ) from error
        return None

    def publish(
        self,
        folder: Path,
        *,
        config: Configuration,
        weights: Mapping[str, torch.Tensor],
        facts: Mapping[str, Any],
        rows: Sequence[Mapping[str, float]],
    ) -> None:
        """Put the finished adapter in `folder`, and remove the checkpoints."""
        new = self.place / "finished"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        config.save_pretrained(str(new))
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, new / WEIGHTS)
        text = json.dumps({**facts, "digest": self.digest}, indent=2, ensure_ascii=False)
        (new / PROVENANCE).write_text(text + "\n", encoding="utf-8")
        pd.DataFrame(rows).to_csv(new / CURVE, index=False, lineterminator="\n")
        if folder.exists():
            folder.rmdir()  # `finished` has seen that it is empty
        new.rename(folder)
        shutil.rmtree(self.place)

    def _all(self) -> list[Path]:
        return sorted(self.place.glob("step-*"))
