"""What a model is asked, what it returns, and where models come from.

In: a model's name. Out: an object that keeps the `Model` protocol: prompts in, replies or log-likelihoods
out. This module knows neither weights nor tensors, and nothing of items, methods or answers: a reply is raw
text.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from lalm_utils.messages import short_repr

MINI = "mini"
API = "openai:"  # then a server's address, "#" and the name of a model there
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class ModelError(RuntimeError):
    """A model cannot be loaded, or cannot do what it is asked. The message says what, why and what next."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a conversation. Its clips come before its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    clips: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A conversation that a model continues.

    Where the last turn is the assistant's, the model goes on with that turn, and the reply is only what it
    adds. `options` are the texts that `option_logprobs` scores; `generate` does not look at them.
    """

    turns: tuple[Turn, ...]
    options: tuple[str, ...] = ()

    @property
    def clips(self) -> tuple[Path, ...]:
        """All clips, in the order in which the model hears them."""
        return tuple(clip for turn in self.turns for clip in turn.clips)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one prompt.

    `text` is raw, without the end-of-turn token, which `n_tokens` does not count either. `finish`: "stop",
    the model ended its turn; "length", it was cut at the token limit; "failed", there is no answer, and
    `error` says why. `truncated`: a clip was longer than the model's window, and its tail was not heard.
    """

    text: str
    n_tokens: int
    finish: Literal["stop", "length", "failed"]
    error: str = ""
    truncated: bool = False


def failed(error: str) -> Reply:
    """The reply that stands for no reply: never an answer, never stored."""
    return Reply(text="", n_tokens=0, finish="failed", error=error)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How replies are decoded: greedily at temperature 0, else sampled. ValueError for a setting out of its range."""

    n: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 64
    seed: int = 0
    first_sample: int = 0

    def __post_init__(self) -> None:
        counts = self.n >= 1 and self.first_sample >= 0 and self.max_new_tokens >= 1
        if not counts or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"n={self.n}, first_sample={self.first_sample}, temperature={self.temperature}, "
                f"max_new_tokens={self.max_new_tokens}: n and max_new_tokens are at least 1, first_sample is "
                "at least 0, and temperature is finite and not negative."
            )

    @property
    def samples(self) -> range:
        """The numbers of the samples to draw; at temperature 0 there is one reply."""
        return range(self.first_sample, self.first_sample + self.n) if self.temperature else range(1)


class Model(Protocol):
    """Anything that can be asked. What a model cannot do it refuses with a `ModelError`.

    It may also have `expect(prompts)`, which is told what will be asked next and prepares for it.
    """

    name: str
    fingerprint: str  # SHA-256 over all that decides replies: weights, configuration, dtype; not the name
    description: dict[str, Any]  # dtype, device, threads, attention, versions, generation: shown with results

    def render(self, prompt: Prompt) -> str:
        """The exact text that the model reads, each clip as its placeholder."""

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
        """One list of `n` replies per prompt, in order: samples `first_sample` to `first_sample + n - 1`.

        Greedy at temperature 0, where `seed` has no effect and the `n` replies are equal. A prompt that
        cannot be answered gets failed replies; it neither stops the others nor raises.
        """

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """One (n_options,) array per prompt: each option's log-likelihood in nats as the whole reply, summed
        over its tokens and the end of the turn. NaN throughout where the prompt failed."""


def load_model(name: str | Path, /, **options: Any) -> Model:
    """The model called `name`: "mini", a folder of a model or of a peft adapter, or a hub id "owner/name".

    `options` go to `TransformersModel` (dtype, device, batch_size, attn, ...; for an adapter also `base`). No
    remote code is run, and only safetensors are read. Raises `ModelError` for a name that is none of these.

    "openai:http://HOST:PORT/v1#MODEL" is a model of an OpenAI-compatible server; `options` go to `ApiModel`
    (revision, concurrency, ...).
    """
    if str(name).startswith(API):
        from lalm_utils.server.api_model import ApiModel  # httpx is loaded for those who need it

        address, model = _server_and_model(str(name))
        if unknown := sorted(set(options) - set(inspect.signature(ApiModel).parameters)):
            raise ModelError(
                f"{', '.join(unknown)}: a server decides that itself; leave it out, or load a model on this machine."
            )
        return ApiModel(address, model, **options)
    folder = folder_of(name) if str(name).strip() else None  # Path("") would be the current folder
    if folder is None and str(name) != MINI and not HUB_ID.fullmatch(str(name)):
        raise ModelError(
            f"there is no model {short_repr(str(name))}: it is not {MINI!r}, not an existing folder, and not a hub "
            "id of the form owner/name. Check the spelling, or give a folder that holds config.json and safetensors."
        )
    import lalm_utils.progress  # noqa: F401, first: it silences a warning that transformers sets off in notebooks
    from lalm_utils.engine.transformers_model import TransformersModel  # torch takes seconds to import

    if str(name) == MINI:
        return TransformersModel(MINI, **{"name": MINI} | options)
    return TransformersModel(folder or str(name), **options)


def folder_of(name: str | Path) -> Path | None:
    """The folder of that name, its "~" resolved, if there is one."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, or the home of nobody
        return None


def _server_and_model(name: str) -> tuple[str, str]:
    address, _, model = name.removeprefix(API).partition("#")
    if not address.startswith(("http://", "https://")) or not model.strip():
        raise ModelError(
            f"{name!r} is no model of a server: write {API}ADDRESS#MODEL with an http(s) address, as in "
            f"{API}http://localhost:8000/v1#Qwen/Qwen2-Audio-7B-Instruct."
        )
    return address, model


def mini_dir() -> Path:
    """The folder of the embedded model, built in the user's cache on first use."""
    from lalm_utils.mini.model import mini_dir as build

    return build()
