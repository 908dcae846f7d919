"""A copy of the embedded model that vLLM serves: `python -m lalm_utils.mini.model.servable FOLDER`.

vLLM's Qwen2-Audio has a window of 30 s and the language model of Qwen2 built in, whose queries, keys and values have
biases. The embedded model hears 10 s and has Llama's layers, without biases. The copy has the same weights under
Qwen2's names, biases of zero, and Whisper's 1,500 positions, so in float32 it replies as the original does; each clip
costs three times as much to hear.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
)
from transformers.models.whisper.modeling_whisper import sinusoids

from lalm_utils.mini.model import mini_dir

WINDOW_SECONDS, POSITIONS = 30, 1500  # Whisper's own: 50 positions a second
POSITION_WEIGHTS = "model.audio_tower.embed_positions.weight"
LLAMA_ONLY = ("model_type", "attention_bias", "mlp_bias", "pretraining_tp", "architectures")


def write(folder: str | Path) -> Path:
    """Write the copy into `folder`, which must be new or empty; the folder.

    Raises FileExistsError for a folder that holds anything, and RuntimeError if a weight of either model has no
    counterpart in the other.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: the copy goes into a new or an empty folder; name another")
    model = Qwen2AudioForConditionalGeneration.from_pretrained(mini_dir(), dtype=torch.bfloat16)
    copy = Qwen2AudioForConditionalGeneration(_config(model.config)).to(torch.bfloat16)
    copy.load_state_dict(_state(model, copy))
    copy.generation_config = model.generation_config
    copy.save_pretrained(folder)
    processor = Qwen2AudioProcessor.from_pretrained(mini_dir())
    extractor = type(processor.feature_extractor)(
        **processor.feature_extractor.to_dict() | {"chunk_length": WINDOW_SECONDS}
    )
    processor.feature_extractor = extractor
    processor.save_pretrained(folder)
    return folder


def _config(config: Qwen2AudioConfig) -> Qwen2AudioConfig:
    text = {name: value for name, value in config.text_config.to_dict().items() if name not in LLAMA_ONLY}
    audio = config.audio_config.to_dict() | {"max_source_positions": POSITIONS}
    return Qwen2AudioConfig(
        audio_config=audio, text_config=Qwen2Config(**text).to_dict(), audio_token_index=config.audio_token_id
    )


def _state(
    model: Qwen2AudioForConditionalGeneration, copy: Qwen2AudioForConditionalGeneration
) -> dict[str, torch.Tensor]:
    """The weights of `model`, with positions up to 30 s, and zeros for each bias that only `copy` has."""
    weights = model.state_dict()
    first = weights[POSITION_WEIGHTS].float()
    positions = sinusoids(POSITIONS, first.shape[1])
    if not torch.allclose(positions[: len(first)], first, atol=0.01):  # bfloat16 keeps 8 bits
        raise RuntimeError(f"{POSITION_WEIGHTS}: not Whisper's sinusoids, so they cannot be continued")
    positions[: len(first)] = first
    biases = {
        name: torch.zeros_like(value)
        for name, value in copy.state_dict().items()
        if name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")) and name not in weights
    }
    return weights | biases | {POSITION_WEIGHTS: positions}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lalm_utils.mini.model.servable", description=__doc__)
    parser.add_argument("folder", help="a new or empty folder for the copy (0.4 GB)")
    print(write(parser.parse_args().folder))


if __name__ == "__main__":
    main()
