"""Models of real size with random weights, and the clock: what `bench` measures on.

In: the name of a shape, a device, a number format. Out: seconds and bytes of each stage of asking, through the
package's own `PrefixSharingEngine`. Nothing is downloaded; random weights cost the same time as trained ones, and what
they reply means nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import (
    AutoModelForMultimodalLM,
    LlamaConfig,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2Config,
    WhisperFeatureExtractor,
)

from lalm_utils.audio import RATE, Clip, content_hash
from lalm_utils.cli.costs import Workload
from lalm_utils.engine.decoding import Prefill
from lalm_utils.engine.generation import Generator
from lalm_utils.engine.hardware import pick_device, pick_dtype, pick_threads
from lalm_utils.engine.model_input import ModelInput
from lalm_utils.engine.prefix_sharing_engine import EngineOptions, PrefixSharingEngine
from lalm_utils.engine.sampling import batch_uniforms
from lalm_utils.models import Decoding, ModelError

T = TypeVar("T")
NEVER = -2  # an end token that no vocabulary has, so that every reply has its full length
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _qwen2_audio_7b() -> Qwen2AudioConfig:
    """Qwen2-Audio-7B: transformers' defaults for the tower (Whisper large-v3), the hub's numbers for the rest."""
    text = Qwen2Config(vocab_size=156032, intermediate_size=11008, max_position_embeddings=8192)
    return Qwen2AudioConfig(audio_config=Qwen2AudioEncoderConfig(), text_config=text)


def _mini_like() -> Qwen2AudioConfig:
    """Whisper tiny.en with a window of 10 s, and SmolLM2-135M: the embedded model's layers."""
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=80, d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
        max_source_positions=500,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=49_160, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3,
    )  # fmt: skip
    return Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=49_155)


def _tiny() -> Qwen2AudioConfig:
    """For trying out the measuring itself: two layers each side, a window of 2 s."""
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=16, d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32,
        max_source_positions=100,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    return Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=63)


SHAPES: dict[str, Callable[[], Qwen2AudioConfig]] = {
    "qwen2-audio-7b": _qwen2_audio_7b,
    "mini-like": _mini_like,
    "tiny": _tiny,
}


class Rig:
    """A model of a shape on a device, and questions to ask it."""

    def __init__(self, shape: str, *, device: str = "auto", dtype: str = "auto") -> None:
        """Make the model, its weights drawn on the device. ModelError for an unknown shape, device or dtype."""
        if shape not in SHAPES:
            raise ModelError(f"no shape {shape!r}: choose one of {', '.join(SHAPES)}.")
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(pick_threads())
        self.config = SHAPES[shape]()
        self.window = self.config.audio_config.max_source_positions / 50
        self.extractor = WhisperFeatureExtractor(
            feature_size=self.config.audio_config.num_mel_bins,
            chunk_length=int(self.window),
            return_attention_mask=True,
        )
        model = _random_model(self.config, self.device, self.dtype)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        processor = SimpleNamespace(feature_extractor=self.extractor)
        options = EngineOptions(audio_cache_mb=2**13, prefix_cache_mb=0)
        self.engine = PrefixSharingEngine(model, processor, ends=[NEVER], options=options)

    def questions(self, count: int, work: Workload) -> list[ModelInput]:
        """`count` prompts of equal length: noise as a clip, a clip each, and random tokens."""
        chance = np.random.default_rng(0)
        length = round(min(work.clip_seconds, self.window) * RATE)
        audio_token = self.config.audio_token_id
        inputs = []
        for _ in range(count):
            samples = chance.uniform(-0.5, 0.5, length).astype(np.float32)
            clip = Clip(
                samples=samples, seconds=work.clip_seconds, truncated=False, sha256=content_hash(samples)
            )
            ids = chance.integers(0, min(audio_token, self.config.text_config.vocab_size), work.text_tokens)
            inputs.append(ModelInput(text="", clips=(clip,), ids=(audio_token, *ids.tolist())))
        return inputs

    def measure(self, size: int, work: Workload, *, repeats: int = 3) -> dict[str, float]:
        """Seconds of each stage for a batch of `size`, medians of `repeats`, and the peak of memory in bytes.

        features: mel spectrograms, on the CPU; hear: these, tower and projector; prefill: the language model
        reads the prompts, clips at hand; decode and sample: 1 and `samples` replies a prompt after that.
        `prompt_tokens` are those of one prompt, its clip's included.
        """
        inputs, engine = self.questions(size, work), self.engine
        clips = [prompt.clips[0] for prompt in inputs]
        engine.audio.clear()
        _reset_peak(self.device)
        arrays = [clip.samples for clip in clips]
        options = {"padding": "max_length", "return_attention_mask": True, "return_tensors": "pt"}
        clock = partial(seconds, device=self.device, repeats=repeats)
        stages = {
            "features_s": clock(lambda _: self.extractor(arrays, sampling_rate=RATE, **options)),
            "hear_s": clock(lambda _: engine.audio.of(clips), prepare=engine.audio.clear),
            "prefill_s": clock(lambda _: engine.prefill(inputs)),
            "decode_s": self._reply_seconds(inputs, work, repeats, n=1, temperature=0.0),
            "sample_s": self._reply_seconds(inputs, work, repeats, n=work.samples, temperature=1.0),
        }
        embeddings = engine.audio.of(clips[:1])[clips[0].sha256]
        engine.audio.clear()
        return stages | {
            "prompt_tokens": len(inputs[0].ids) - 1 + len(embeddings),
            "peak_bytes": peak(self.device),
        }

    def _reply_seconds(self, inputs: list[ModelInput], work: Workload, repeats: int, **options: Any) -> float:
        """Seconds of the decode steps alone, after the prefill."""
        decoding = Decoding(max_new_tokens=work.new_tokens, **options)

        def reply(prefill: Prefill) -> None:
            generator = Generator(self.engine.decoder, decoding, ends=self.engine.ends)
            generator.add(prefill, uniform=batch_uniforms(decoding, inputs, self.device))
            generator.run()

        return seconds(reply, self.device, repeats=repeats, prepare=lambda: self.engine.prefill(inputs))


def seconds(
    work: Callable[[T], Any],
    device: torch.device,
    *,
    repeats: int,
    prepare: Callable[[], T] = lambda: None,
) -> float:
    """The median time of `work(prepare())` without the preparing, after one call that warms up."""
    times = []
    for _ in range(repeats + 1):
        prepared = prepare()
        _wait(device)
        start = time.perf_counter()
        work(prepared)
        _wait(device)
        times.append(time.perf_counter() - start)
        del prepared  # or two of them would be in memory
    return median(times[1:])


def matmul_flops(device: torch.device, dtype: torch.dtype, *, size: int, repeats: int = 5) -> float:
    """FLOPs a second of a product of two (size, size) matrices of random numbers: zeros would run faster."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda _: left @ right, device, repeats=repeats)


def copy_bytes(device: torch.device, *, size: int, repeats: int = 5) -> float:
    """Bytes a second of copying `size` bytes within the device's memory, those read and those written."""
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds(lambda _: target.copy_(source), device, repeats=repeats)


def free_memory() -> None:
    """Give back what is not used, after a batch that was too large."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _random_model(config: Qwen2AudioConfig, device: torch.device, dtype: torch.dtype) -> Any:
    """In evaluation mode, made on the device: a copy of 17 GB need not fit in the machine's memory."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForMultimodalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    model.generation_config.pad_token_id = 0
    return model


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # Linux alone has it; elsewhere the peak is that of the whole process so far
        CLEAR.write_text("5")


def peak(device: torch.device) -> float:
    """Bytes of the device's memory in use at most; on a CPU the process's, NaN where Linux does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), float("nan"))
