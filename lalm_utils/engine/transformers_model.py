"""Any audio language model that transformers can load, behind the `Model` protocol.

In: a folder or hub id, then prompts. Out: replies and option likelihoods. It renders and tokenises prompts, forms
batches and keeps failures apart; `loading` and the engines do the rest.

Numbers depend on more than weights: bfloat16 replies differ from float32 ones (so the dtype is part of the
fingerprint), and in bfloat16 a near-tie can flip with the make-up of a batch, and with what was cached before it:
on the untrained base of the embedded model, 7 of 36 greedy replies of 8 tokens did between batches of 1 and 16.
In float32 none does. On a CPU, the number of threads decides the speed: see `hardware`.
"""

from __future__ import annotations

import copy
import gc
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers

from lalm_utils.audio import RATE, Clip, chirp, content_hash, read_clip
from lalm_utils.engine import adapters, hardware, weights
from lalm_utils.engine.audio_features import expand_audio_tokens
from lalm_utils.engine.batches import Failure, bisect_on_failure
from lalm_utils.engine.generic_engine import GenericEngine
from lalm_utils.engine.loading import load
from lalm_utils.engine.model_input import GeneratedSequence, ModelInput
from lalm_utils.engine.prefix_sharing_engine import EngineOptions, PrefixSharingEngine, engine_for
from lalm_utils.models import Decoding, ModelError, Prompt, Reply, Turn, failed

R = TypeVar("R")
SORTED_BATCHES = (
    8  # batches whose clips are decoded and sorted together: bounded memory, and enough to sort by length
)


class TransformersModel:
    """A model that reads prompts through its processor's chat template. Keeps the `Model` protocol."""

    def __init__(
        self,
        path_or_id: str | Path,
        *,
        name: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str = "auto",
        adapter: str | Path | None = None,
        base: str | None = None,
        revision: str | None = None,
        check: bool = True,
        resolve: Callable[..., Path] = weights.local_folder,
        **options: Any,
    ) -> None:
        """Load a model, or an adapter with its `base`, and check that it takes notice of audio (`check`).

        dtype: "auto", "float32", "bfloat16", "float16"; device: "auto", "cpu", "cuda", ...; resolve: finds the folder
        of a name (`weights.find`); options: the fields of `EngineOptions`. On a CPU it sets torch's number of threads,
        what the C library does with freed memory and how heads share keys, for the process (`hardware`). Only the first
        window of a longer clip reaches the model, and its replies are marked `truncated`. Raises ModelError.
        """
        self.options = EngineOptions(**options)
        self.batch_size = self.options.batch_size
        self.files = weights.find(path_or_id, adapter=adapter, base=base, revision=revision, resolve=resolve)
        self.name = name or self.files.name(path_or_id)
        self.device = hardware.pick_device(device)
        self.dtype = hardware.pick_dtype(dtype, self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(hardware.pick_threads())
            hardware.keep_freed_memory()
            hardware.share_heads()
        self.parts = load(self.files, dtype=self.dtype, device=self.device, attn=self.options.attn)
        self.model, self.processor = self.parts.model, self.parts.processor
        self.device = self.model.device  # "cuda" has become "cuda:0"
        self.fingerprint = weights.fingerprint(self.files, str(self.dtype).removeprefix("torch."))
        self.engine = engine_for(
            self.model,
            self.processor,
            ends=self.parts.ends,
            options=self.options,
            family=self.parts.family,
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
            "device": hardware.device_name(self.device),
            "threads": torch.get_num_threads(),
            "attention": self.model.config._attn_implementation,
            "engine": type(self.engine).__name__,
            "batch_size": self.batch_size,
            "window_seconds": self.parts.window_seconds,
            # a base model and its instruct version differ in weights and template, whatever their folders are called
            "chat_template_sha256": hashlib.sha256(self.parts.template.source.encode()).hexdigest(),
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "generation": self.model.generation_config.to_diff_dict(),
            # not used, except that the end tokens it names are ours too
            "generation_stored_with_weights": self.parts.stored_generation,
        }

    # ---- variants of a loaded model

    def with_engine(
        self, engine: PrefixSharingEngine | GenericEngine, *, batch_size: int | None = None
    ) -> TransformersModel:
        """This model run by another engine, with all else shared; it stays as it is."""
        other = copy.copy(self)
        other.engine, other.batch_size = engine, batch_size or self.batch_size
        return other

    def with_generic_engine(self, *, batch_size: int | None = None) -> TransformersModel:
        """This model run by transformers' own forward and `generate`, with nothing shared between prompts."""
        engine = GenericEngine(self.model, self.processor, ends=self.parts.ends, family=self.parts.family)
        return self.with_engine(engine, batch_size=batch_size)

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

    # ---- prompts

    def render(self, prompt: Prompt) -> str:
        """The prompt by the chat template, open for the reply, each clip as its placeholder; ModelError if it fails."""
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

    def ready(self, prompt: Prompt) -> ModelInput:
        """The prompt as an engine takes it: rendered, tokenised with its options, its clips decoded.

        Raises ModelError as `render` does, and AudioError for a clip that cannot be read.
        """
        clips = tuple(self._read(path) for path in prompt.clips)
        encoded = self._encoded(self.render(prompt), clips, prompt.options)
        if prompt.turns[-1].role != "assistant" or not clips:
            return encoded
        before = self._encoded(self.render(replace(prompt, turns=prompt.turns[:-1])), clips).ids
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(before, encoded.ids[:-1]))
        return replace(encoded, n_before=sum(1 for _ in shared))

    def embed(self, prompt: Prompt) -> tuple[list[int], Sequence[Sequence[int]], list[torch.Tensor]]:
        """For training: the prompt's token ids with each clip's audio tokens in full, the ids of each option with the
        end of the turn, and each clip's embeddings (n_tokens, d_model) as the language model reads them, not part of a
        graph.

        Each clip goes through the audio tower by itself: the last bits of a pass over several depend on which they are,
        and an interrupted training would end a little elsewhere. So they are cached apart from the engine's own. Raises
        as `ready`, and ModelError for a model without such embeddings.
        """
        if not self.has_audio_embeddings:
            raise ModelError(f"{self.name}: {type(self.model).__name__} has no embeddings of single clips.")
        encoded = self.ready(prompt)
        audio = [self.engine.single_audio.of([clip])[clip.sha256] for clip in encoded.clips]
        counts = [len(embeddings) for embeddings in audio]
        ids = expand_audio_tokens(encoded.ids, self.model.config.audio_token_id, counts)
        return ids, encoded.options, audio

    @property
    def has_audio_embeddings(self) -> bool:
        """Whether `embed` works: in Qwen2-Audio, if its engine is not the generic one."""
        return isinstance(self.engine, PrefixSharingEngine)

    def _read(self, path: Path) -> Clip:
        return read_clip(path, max_seconds=self.parts.window_seconds)

    def _encoded(self, text: str, clips: tuple[Clip, ...], options: Sequence[str] = ()) -> ModelInput:
        tokenizer, end = self.processor.tokenizer, self.parts.end_of_turn
        bos = tokenizer.bos_token
        ids = tokenizer(text, add_special_tokens=not (bos and text.startswith(bos))).input_ids
        tokens = [(*tokenizer(option, add_special_tokens=False).input_ids, end) for option in options]
        return ModelInput(text=text, clips=clips, ids=tuple(ids), options=tuple(tokens))

    # ---- replies

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
        decoding = Decoding(
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
            first_sample=first_sample,
        )
        work = partial(self._generate, decoding=decoding)
        results = self._in_batches(prompts, work)
        replies = [[failed(r.error)] * n if isinstance(r, Failure) else r for r in results]
        return replies if temperature else [samples[:1] * n for samples in replies]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """See `Model.option_logprobs`. ValueError for a prompt without options."""
        for prompt in prompts:
            if not prompt.options:
                raise ValueError(f"a prompt without options cannot be scored: {prompt.turns[-1].text[:80]!r}")
        scores = self._in_batches(prompts, self.engine.option_logprobs)
        return [
            np.full(len(prompt.options), np.nan) if isinstance(score, Failure) else score
            for prompt, score in zip(prompts, scores)
        ]

    def first_logits(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """(n, vocabulary): float32 logits of each reply's first token. ModelError for a prompt that failed."""
        return self._per_prompt(prompts, lambda batch: list(self.engine.first_logits(batch).cpu().numpy()))

    def last_hidden_states(self, prompts: Sequence[Prompt]) -> np.ndarray:
        """(n, d_model): what the output layer reads to give each reply's first token, float32; ModelError as above."""
        plain = (
            self.with_generic_engine()
        )  # the other engine's head may be a copy of the layer that is watched

        def work(batch: Sequence[ModelInput]) -> list[np.ndarray]:
            return [plain._before_output(prompt) for prompt in batch]

        return self._per_prompt(prompts, work)

    def _before_output(self, prompt: ModelInput) -> np.ndarray:
        hidden: list[torch.Tensor] = []
        layer = self.model.get_output_embeddings()
        with layer.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0])):
            self.engine.first_logits([prompt])
        return hidden[-1][0, -1].float().cpu().numpy()

    def _per_prompt(
        self, prompts: Sequence[Prompt], work: Callable[[Sequence[ModelInput]], Sequence[R]]
    ) -> np.ndarray:
        results = self._in_batches(prompts, work)
        if failure := next((result for result in results if isinstance(result, Failure)), None):
            raise ModelError(f"{self.name}: a prompt failed ({failure.error}); leave it out")
        return np.stack(results)

    def _generate(self, batch: Sequence[ModelInput], decoding: Decoding) -> list[list[Reply]]:
        sequences = self.engine.generate(batch, decoding)
        return [[self._reply(prompt, s) for s in samples] for prompt, samples in zip(batch, sequences)]

    def _reply(self, prompt: ModelInput, sequence: GeneratedSequence) -> Reply:
        return Reply(
            text=self.processor.tokenizer.decode(sequence.tokens, skip_special_tokens=True),
            n_tokens=len(sequence.tokens),
            finish="stop" if sequence.complete else "length",
            truncated=any(clip.truncated for clip in prompt.clips),
        )

    # ---- batches

    def _in_batches(
        self,
        prompts: Sequence[Prompt],
        work: Callable[[Sequence[ModelInput]], Sequence[R]],
    ) -> list[R | Failure]:
        """`work` on batches of prompts of similar length; results in the prompts' order."""
        results: list[Any] = []
        window = SORTED_BATCHES * self.batch_size
        for start in range(0, len(prompts), window):
            part = [bisect_on_failure([p], self._ready_all)[0] for p in prompts[start : start + window]]
            queue = [number for number, result in enumerate(part) if not isinstance(result, Failure)]
            # the longest first: a batch too large for the memory shows at once, not after an hour
            queue.sort(key=lambda number: -part[number].length)
            while queue:
                size = self.batch_size  # read anew: `_shrink` may have changed it
                numbers, queue = queue[:size], queue[size:]
                batch = [part[number] for number in numbers]
                batch_results = bisect_on_failure(batch, work, recover=_free_memory, shrink=self._shrink)
                for number, result in zip(numbers, batch_results):
                    part[number] = result
            results += part
        return results

    def _ready_all(self, prompts: Sequence[Prompt]) -> list[ModelInput]:
        return [self.ready(prompt) for prompt in prompts]

    def _shrink(self, size: int) -> None:
        """Take batches of `size` from now on, after memory ran out over a larger one."""
        self.batch_size = size

    # ---- does it hear?

    def audio_effect(self, prompt: Prompt) -> float:
        """The largest change of a first-token logit when the clips are replaced by silence. 0: audio is ignored."""
        encoded = self.ready(prompt)
        silence = tuple(_clip(np.zeros_like(clip.samples)) for clip in encoded.clips)
        return self._logit_difference(encoded, silence)

    def check_audio_changes_output(self) -> None:
        """Raise ModelError if a chirp and a silence of equal length give equal logits: audio is ignored."""
        prompt = Prompt(turns=(Turn(role="user", text="What do you hear?", clips=(Path("chirp"),)),))
        encoded = self._encoded(self.render(prompt), (_clip(chirp()),))
        if self._logit_difference(encoded, (_clip(np.zeros(RATE, np.float32)),)) == 0:
            suspect = (
                f"the adapter {self.files.adapter}: its training may have diverged; and "
                if self.files.adapter
                else ""
            )
            raise ModelError(
                f"{self.name} does not hear: a chirp and silence give equal logits, so it would answer from "
                f"the text alone. Check {suspect}that weights and processor fit; check=False skips this test."
            )

    def _logit_difference(self, prompt: ModelInput, other: tuple[Clip, ...]) -> float:
        logits = self.engine.first_logits([prompt])
        changed = self.engine.first_logits([ModelInput(text=prompt.text, clips=other, ids=prompt.ids)])
        return (logits - changed).abs().max().item()


def _clip(samples: np.ndarray) -> Clip:
    return Clip(samples=samples, seconds=len(samples) / RATE, truncated=False, sha256=content_hash(samples))


def _free_memory() -> None:
    gc.collect()
    hardware.trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
