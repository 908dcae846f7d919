"""Any audio language model that transformers can load, behind the `Model` protocol.

In: a folder or hub id, then prompts. Out: replies and option likelihoods. It renders, makes prompts ready,
forms batches and keeps failures apart; `loading` and `engines` do the rest. It knows no items or methods.

Numbers depend on more than weights: bfloat16 replies differ from float32 ones (so the dtype is part of the
fingerprint), and in bfloat16 a near-tie can flip with the make-up of a batch, and with what was kept before it:
on the untrained base of the embedded model, 7 of 36 greedy replies of 8 tokens did between batches of 1 and 16.
In float32 none does. On a CPU, the number of threads decides the speed: see `hardware`.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers

from lalm_utils.audio import RATE, Clip, chirp, content_hash
from lalm_utils.engine import adapters, weights
from lalm_utils.engine.ahead import Ahead
from lalm_utils.engine.asked import Asked, Decoding, Written
from lalm_utils.engine.batches import Failure, isolate
from lalm_utils.engine.engines import engine_for
from lalm_utils.engine.hardware import (
    device_name,
    give_back_memory,
    keep_freed_memory,
    pick_device,
    pick_dtype,
    pick_threads,
    share_heads,
)
from lalm_utils.engine.loading import load
from lalm_utils.engine.windows import Windows
from lalm_utils.models import ModelError, Prompt, Reply, Turn, failed

R = TypeVar("R")
LOOKAHEAD = 8  # batches that are decoded and sorted together: bounded memory, and enough to sort by length


class TransformersModel:
    """A model that is asked through its processor's chat template. Keeps the `Model` protocol."""

    def __init__(
        self,
        path_or_id: str | Path,
        *,
        name: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str = "auto",
        batch_size: int = 16,
        attn: str = "sdpa",
        adapter: str | Path | None = None,
        base: str | None = None,
        revision: str | None = None,
        audio_cache_mb: int = 512,
        opening_cache_mb: int = 256,
        audio_cache_dir: str | Path | None = None,
        audio_cache_disk_mb: int = 8192,
        window: str = "first",
        max_windows: int = 4,
        device_map: str | dict[str, Any] | None = None,
        check: bool = True,
    ) -> None:
        """Load a model, or an adapter with its `base`, and check that it hears (`check`).

        dtype: "auto", "float32", "bfloat16", "float16"; device: "auto", "cpu", "cuda", ...; attn:
        transformers' name of the attention ("sdpa", and "eager" for a part that lacks it; "eager";
        "flash_attention_2"); batch_size counts prompts, and is halved when memory runs out; audio_cache_mb
        bounds the kept embeddings of clips, opening_cache_mb the kept keys and values of what prompts on a clip
        begin with (0: none are kept); audio_cache_dir: a folder that keeps Qwen2-Audio's embeddings of clips for
        later runs, in audio_cache_disk_mb; window ("first", "consecutive") and max_windows: what is heard of a clip
        longer than the model's window (see `windows`); device_map: transformers' way to spread a model over
        devices ("auto", ...), in place of `device`. On a CPU it sets torch's number of threads, what the C
        library does with freed memory and how heads share keys, for the process (`hardware`). Raises ModelError.
        """
        if batch_size < 1:
            raise ModelError(f"batch_size={batch_size}: a batch holds at least one prompt.")
        windows = Windows(policy=window, most=max_windows)  # refused before gigabytes are loaded
        found = weights.find(path_or_id, adapter=adapter, base=base, revision=revision)
        self.name, self.batch_size = name or found.name(path_or_id), batch_size
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.files = found
        if self.device.type == "cpu":
            torch.set_num_threads(pick_threads())
            keep_freed_memory()
            share_heads()
        self.parts = load(found, dtype=self.dtype, device=self.device, attn=attn, device_map=device_map)
        self.model, self.processor, family = self.parts.model, self.parts.processor, self.parts.family
        self.device = self.model.device
        self.windows = replace(windows, seconds=self.parts.window_seconds)
        self.heard_of = Ahead(self.windows.heard)
        if window != "first" and family.most_clips == 1:
            raise ModelError(
                f"window={window!r}: {self.name} takes one clip a prompt. Leave it at 'first', which hears "
                f"{self.windows.seconds:g} s."
            )
        dtype_name = str(self.dtype).removeprefix("torch.")
        self.fingerprint = self.windows.fingerprint(weights.fingerprint(found, dtype_name))
        self.engine = engine_for(
            self.model,
            self.processor,
            family=family,
            ends=self.parts.ends,
            audio_budget=audio_cache_mb * 2**20,
            opening_budget=opening_cache_mb * 2**20,
            audio_folder=audio_cache_dir,
            disk_budget=audio_cache_disk_mb * 2**20,
        )
        if check:
            self.check_audio_changes_output()

    @property
    def description(self) -> dict[str, Any]:
        """What a reader must know to judge a number that this model gave."""
        return {
            "name": self.name,
            "class": type(self.model).__name__,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "adapter": self.parts.adapter,
            "fingerprint": self.fingerprint,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "attention": self.model.config._attn_implementation,
            "engine": type(self.engine).__name__,
            "batch_size": self.batch_size,
            "window_seconds": self.parts.window_seconds,
            "window": self.windows.policy,
            "max_windows": self.windows.most,
            # a base model and its instruct version differ in weights and template, whatever their folders are called
            "chat_template_sha256": hashlib.sha256(self.parts.template.source.encode()).hexdigest(),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "generation": self.model.generation_config.to_diff_dict(),
            # not used, except that the end tokens it names are ours too
            "generation_stored_with_weights": self.parts.stored_generation,
        }

    def render(self, prompt: Prompt) -> str:
        """The prompt by the chat template, open for the reply, a placeholder for each window of each clip.
        ModelError where that fails."""
        return self._rendered(self.windows.over(prompt))

    def _rendered(self, prompt: Prompt) -> str:
        self.parts.template.check(prompt.turns)
        try:
            text = self.parts.template.render(prompt.turns)
        except Exception as error:  # a template raises what it likes
            raise ModelError(f"the chat template of {self.name} refuses these turns: {error}") from error
        if (mark := self.parts.template.mark) and text.count(mark) != len(prompt.clips):
            raise ModelError(
                f"the chat template of {self.name} renders {text.count(mark)} of {len(prompt.clips)} clips: "
                "this model cannot hear clips in these turns."
            )
        return text

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
        first_sample: int = 0,
    ) -> list[list[Reply]]:
        """See `Model.generate`. ValueError for a setting out of its range."""
        how = Decoding(
            n=n,
            first_sample=first_sample,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
        made = self._all(prompts, partial(self._answer, how=how), together=self.engine.TOGETHER)
        replies = [[failed(m.error)] * n if isinstance(m, Failure) else m for m in made]
        return replies if temperature else [several[:1] * n for several in replies]

    def expect(self, prompts: Sequence[Prompt]) -> None:
        """Begin to decode the clips of `prompts`, which will be asked next, while others are answered."""
        self.heard_of.expect(path for prompt in prompts for path in prompt.clips)

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """See `Model.option_logprobs`. ValueError for a prompt without options."""
        for prompt in prompts:
            if not prompt.options:
                raise ValueError(f"a prompt without options cannot be scored: {prompt.turns[-1].text[:80]!r}")
        scores = self._all(prompts, self.engine.option_logprobs)
        return [
            np.full(len(prompt.options), np.nan) if isinstance(score, Failure) else score
            for prompt, score in zip(prompts, scores)
        ]

    def heard(self, prompt: Prompt) -> float:
        """The largest change of a first-token logit when the clips fall silent. 0: they are not heard."""
        asked = self.ready(prompt)
        silent = tuple(_clip(np.zeros_like(clip.samples)) for clip in asked.clips)
        return self._difference(asked, silent)

    def check_audio_changes_output(self) -> None:
        """Raise ModelError if a chirp and a silence of equal length give equal logits: audio is ignored."""
        prompt = Prompt(turns=(Turn(role="user", text="What do you hear?", clips=(Path("chirp"),)),))
        asked = self._asked(self._rendered(prompt), (_clip(chirp()),), ())
        if self._difference(asked, (_clip(np.zeros(RATE, np.float32)),)) == 0:
            raise ModelError(
                f"{self.name} does not hear: a chirp and silence give equal logits, so it would answer from "
                "the text alone. Check that weights and processor fit; check=False skips this test."
            )

    @property
    def content(self) -> str:
        """SHA-256 (hex) over the files it was loaded from, the same in every dtype."""
        return weights.fingerprint(self.files, "any")

    def find_adapter(self, folder: str | Path) -> weights.Weights:
        """This model's files with those of the adapter in `folder`; ModelError if it holds none."""
        return adapters.find(self, folder)

    def with_adapter(self, files: weights.Weights, *, scale: float = 1.0) -> TransformersModel:
        """This model with an adapter that `find_adapter` has found, its LoRA counting `scale` times.

        Weights are shared, neither copied nor read again, and this model stays as it is.
        """
        return adapters.with_adapter(self, files, scale=scale)

    def _difference(self, asked: Asked, other: tuple[Clip, ...]) -> float:
        there = self.engine.first_logits([asked])
        here = self.engine.first_logits([Asked(text=asked.text, clips=other, ids=asked.ids)])
        return (there - here).abs().max().item()

    def _all(
        self, prompts: Sequence[Prompt], work: Callable[[Sequence[Asked]], Sequence[R]], *, together: int = 1
    ) -> list[R | Failure]:
        """`work` on every prompt, in `together` batches of similar length at once; results in the prompts' order."""
        reach = LOOKAHEAD * self.batch_size
        results: list[R | Failure] = []
        for start in range(0, len(prompts), reach):
            self.expect(prompts[start + reach : start + 2 * reach])
            results += self._part(prompts[start : start + reach], work, together)
        return results

    def _part(
        self, prompts: Sequence[Prompt], work: Callable[[Sequence[Asked]], Sequence[R]], together: int
    ) -> list[R | Failure]:
        results: list[Any] = [isolate([prompt], self._ready_all)[0] for prompt in prompts]
        waiting = [place for place, made in enumerate(results) if not isinstance(made, Failure)]
        # the longest first: a batch too large for the memory shows at once, not after an hour
        waiting.sort(key=lambda place: -results[place].length)
        while waiting:
            size = together * self.batch_size
            places, waiting = waiting[:size], waiting[size:]
            batch = [results[place] for place in places]
            for place, result in zip(places, isolate(batch, work, recover=_free_memory, shrink=self._shrink)):
                results[place] = result
        return results

    def _ready_all(self, prompts: Sequence[Prompt]) -> list[Asked]:
        return [self.ready(prompt) for prompt in prompts]

    def ready(self, prompt: Prompt) -> Asked:
        """The prompt as an engine takes it: rendered, tokenised with its options, its clips read.

        Raises ModelError as `render` does, and AudioError for a clip that cannot be heard.
        """
        clips = tuple(clip for path in prompt.clips for clip in self.heard_of(path))
        return self._asked(self.render(prompt), clips, prompt.options)

    def _asked(self, text: str, clips: tuple[Clip, ...], options: Sequence[str]) -> Asked:
        tokenizer = self.processor.tokenizer
        bos = tokenizer.bos_token
        ids = tokenizer(text, add_special_tokens=not (bos and text.startswith(bos))).input_ids
        end = self.parts.end_of_turn
        tokens = [(*tokenizer(option, add_special_tokens=False).input_ids, end) for option in options]
        return Asked(text=text, clips=clips, ids=tuple(ids), options=tuple(tokens))

    def _answer(self, batch: Sequence[Asked], how: Decoding) -> list[list[Reply]]:
        written = self.engine.generate(batch, how, at_once=self.batch_size)
        return [[self._reply(asked, one) for one in several] for asked, several in zip(batch, written)]

    def _reply(self, asked: Asked, written: Written) -> Reply:
        return Reply(
            text=self.processor.tokenizer.decode(written.tokens, skip_special_tokens=True),
            n_tokens=len(written.tokens),
            finish="stop" if written.ended else "length",
            truncated=any(clip.truncated for clip in asked.clips),
        )

    def _shrink(self, size: int) -> None:
        """Take smaller batches, when memory ran out over a list twice as long as `size`: one batch, or several."""
        self.batch_size = size if size <= self.batch_size else max(1, self.batch_size // 2)


def _clip(samples: np.ndarray) -> Clip:
    return Clip(samples=samples, seconds=len(samples) / RATE, truncated=False, sha256=content_hash(samples))


def _free_memory() -> None:
    gc.collect()
    give_back_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
