"""A loaded model with a peft adapter on it, sharing every weight with the model it came from.

In: a loaded model and an adapter's files. Out: another loaded model, the first as it was.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from lalm_utils.engine import loading, weights
from lalm_utils.engine.generic_engine import GenericEngine
from lalm_utils.engine.prefix_sharing_engine import PrefixSharingEngine
from lalm_utils.engine.weights import Weights

if TYPE_CHECKING:
    from lalm_utils.engine.transformers_model import TransformersModel


def find(base: TransformersModel, folder: str | Path) -> Weights:
    """The files of `base` with those of the adapter in `folder`; ModelError if it holds none."""
    return replace(weights.find(base.files.folder, adapter=folder), base=base.files.base)


def with_adapter(base: TransformersModel, files: Weights, *, scale: float = 1.0) -> TransformersModel:
    """`base` with the adapter of `files`, its LoRA counting `scale` times. The weights are neither copied nor read."""
    name = files.adapter.resolve().name + ("" if scale == 1 else f"@{scale:g}")
    model = loading.with_adapter(_sharing_copy(base.model), files, scale=scale).eval()
    twin = base.with_engine(_engine(base, model))
    twin.model, twin.files, twin.name = model, files, f"{base.name}+{name}"
    twin.parts = replace(base.parts, model=model, adapter=name)
    twin.fingerprint = weights.fingerprint(files, str(base.dtype).removeprefix("torch."), scale=scale)
    return twin


def _sharing_copy(model: nn.Module) -> nn.Module:
    """Modules of its own around the very tensors of `model`."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


def _engine(base: TransformersModel, model: nn.Module) -> PrefixSharingEngine | GenericEngine:
    """An engine for `model`; where the adapter is in the language model alone, with the base's audio embeddings."""
    engine = base.engine
    if isinstance(engine, GenericEngine):
        return GenericEngine(model, base.processor, ends=base.parts.ends, family=engine.family)
    adapter_names = {name for name, _ in model.named_parameters()} - {
        name for name, _ in base.model.named_parameters()
    }
    if any("language_model" not in name.split(".") for name in adapter_names):
        return engine.with_empty_caches(model)
    return engine.with_language_model(model)
