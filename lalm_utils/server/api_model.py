"""Any OpenAI-compatible server that takes audio (vLLM, SGLang, a hosted one), behind the `Model` protocol.

In: a server's address and a model's name there, then prompts. Out: replies. `json_client` makes the calls and
`chat_format` knows the protocol. A call that fails, after all its attempts, is a failed reply.

What is sent: `temperature`, `max_tokens`, `top_p` 1, and, where something is drawn, `n` and `seed`. Everything
else is the server's own choice: vLLM, for one, takes repetition penalty and top-k from the model's stored
generation settings unless told otherwise, and a penalty changes greedy replies too. Say so with
`extra={"repetition_penalty": 1.0, "top_k": -1}`; not all servers know these fields, so they are not sent unasked.

Sample k is drawn with the seed `seed + k`, as far as the server heeds seeds. n samples are one request with
`n` and the first sample's seed, which vLLM counts up for the others. Where a server gives fewer choices than
asked, or refuses `n`, the rest are requests of their own. A server that draws all choices of a request with
one seed gives equal ones: `one_request=False` makes them n requests at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np

from lalm_utils.audio import MIN_SECONDS
from lalm_utils.engine.batches import Failure, bisect_on_failure
from lalm_utils.models import ModelError, Prompt, Reply, failed
from lalm_utils.server import chat_format, trial
from lalm_utils.server.chat_client import ChatClient, Sampling
from lalm_utils.server.chat_format import AudioPart
from lalm_utils.server.json_client import Backoff, CallError, JsonClient

KEYS = ("LALM_UTILS_API_KEY", "OPENAI_API_KEY")  # of the environment; the first that is set counts
OURS = ("model", "messages", "n", "temperature", "max_tokens", "seed", "stream")


class ApiModel:
    """A model that a server runs. Keeps the `Model` protocol; safe to use inside a running event loop.

    Its `fingerprint` covers all that the server tells of the model, the address and the settings. **It cannot
    cover the weights**, which a server does not show: who restarts a server with other weights, precision or
    chat template under the same name must give each its own `revision`. A `revision` takes the address' place,
    so that the same deployment at another port finds its stored replies. The times that servers put on their
    models ("created") are left out, since vLLM's is the time of the request.

    A first question tells whether the model replies, and whether its prompt is longer with a clip than without
    (`trial`). Whether it makes use of what it hears is not checked: compare with `runs.with_silence`.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        name: str | None = None,
        revision: str | None = None,
        extra: Mapping[str, Any] | None = None,
        window_seconds: float = 30.0,
        audio_part: AudioPart = "input_audio",
        one_request: bool = True,
        continues: bool = False,
        concurrency: int = 8,
        retries: int = 4,
        connect_timeout: float = 10.0,
        read_timeout: float = 120.0,
        allow_insecure: bool = False,
        check: bool = True,
        backoff: Backoff | None = None,
    ) -> None:
        """Ask the server for its list of models, and refuse a `model` that is not on it, or fails `trial` (`check`).

        extra: further fields of each request; window_seconds: of a clip, the rest is cut and the reply marked
        truncated; audio_part: "audio_url" for SGLang before August 2026; continues: the server knows vLLM's
        continue_final_message, without which a prompt that ends in the assistant's turn is refused;
        concurrency: requests under way at once; retries: attempts after the first, on 429, 500, 502, 503, 504,
        timeouts and broken connections; timeouts in seconds. A key is read from $LALM_UTILS_API_KEY, else
        from $OPENAI_API_KEY, and from nowhere else. It goes to the address, whoever is there: an empty
        LALM_UTILS_API_KEY sends none. Raises ModelError.
        """
        self.model, self.name, self.revision = model, name or model, revision
        self.extra, self.window_seconds, self.audio_part = (
            dict(extra or {}),
            float(window_seconds),
            audio_part,
        )
        self.one_request, self.continues, self.concurrency = one_request, continues, concurrency
        self._check_settings()
        try:
            server = JsonClient(
                address,
                key=next((os.environ[key] for key in KEYS if key in os.environ), "").strip(),
                allow_insecure=allow_insecure,
                connections=concurrency,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries=retries,
                backoff=backoff,
            )
            self.address, self._chat = server.address, ChatClient(server, one_request=one_request)
            self.reported = self._chat.told_of(model, check=check)
            self.first_question = self._try_out() if check else {}
        except CallError as error:
            raise ModelError(f"{model} cannot be asked: {error}.") from error
        self.fingerprint = self._fingerprint()

    def __repr__(self) -> str:
        return f"ApiModel({self.address!r}, {self.model!r})"

    @property
    def description(self) -> dict[str, Any]:
        """What a reader must know to judge a number that this model gave."""
        return {
            "name": self.name,
            "class": type(self).__name__,
            "address": self.address,
            "model": self.model,
            "reported": self.reported,
            # (model, system fingerprint) of the answers so far: hosted servers may change them between calls
            "answered_as": sorted(self._chat.answered_as),
            "weights": "not seen: a server does not show them",
            "fingerprint": self.fingerprint,
            "revision": self.revision,
            "device": "the server's",
            "prompt_tokens": self.first_question or "not told",
            "extra": self.extra,
            "audio_part": self.audio_part,
            "one_request": self.one_request,
            "window_seconds": self.window_seconds,
            "concurrency": self.concurrency,
            "httpx": httpx.__version__,
        }

    def render(self, prompt: Prompt) -> str:
        """The conversation as it is sent, one JSON object a turn, clips as {"type": "clip"}.

        The server's chat template, which makes the model's text of it, is not seen. ModelError for a prompt
        that cannot be sent.
        """
        if prompt.turns and prompt.turns[-1].role == "assistant" and not self.continues:
            raise ModelError(
                f"{self.name} is asked to go on with the assistant's turn, which the protocol does not know. "
                "vLLM and SGLang do: load the model with continues=True."
            )
        return chat_format.rendered(prompt)

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
        how = Sampling(
            n=n,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
            first_sample=first_sample,
        )
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="lalm-api")
        try:
            return list(pool.map(lambda prompt: self._replies(prompt, how), prompts))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for what is under way

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """Refused with ModelError: the protocol gives likelihoods of what was generated, not of given texts."""
        raise ModelError(
            f"{self.name} cannot score options: a chat server gives no likelihood of a text that it did not "
            "write. Sample replies with generate, or load the weights with load_model(folder or hub id)."
        )

    def close(self) -> None:
        """Close the connections."""
        self._chat.server.close()

    def _check_settings(self) -> None:
        if clash := sorted(set(self.extra) & set(OURS)):
            raise ModelError(f"extra has {', '.join(clash)}, set by generate itself: leave it out.")
        if self.audio_part not in get_args(AudioPart):
            raise ModelError(f"audio_part={self.audio_part!r}: one of {', '.join(get_args(AudioPart))}.")
        if not self.window_seconds >= MIN_SECONDS:
            raise ModelError(f"window_seconds={self.window_seconds}: at least {MIN_SECONDS}, as a clip is.")
        try:
            json.dumps(self.extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ModelError(f"extra cannot be written as JSON ({error}): give plain values.") from error

    def _try_out(self) -> dict[str, int]:
        how = {"audio_part": self.audio_part, "window_seconds": self.window_seconds}
        return trial.try_out(self._chat, {"model": self.model, "top_p": 1.0} | self.extra, **how)

    def _fingerprint(self) -> str:
        where = {"revision": self.revision} if self.revision else {"address": self.address}
        decides = {
            "protocol": "openai chat",
            "model": self.model,
            "reported": self.reported,
            "extra": self.extra,
            "audio_part": self.audio_part,
            "one_request": self.one_request,
            "window_seconds": self.window_seconds,
        }
        return hashlib.sha256(json.dumps(decides | where, sort_keys=True).encode()).hexdigest()

    def _replies(self, prompt: Prompt, how: Sampling) -> list[Reply]:
        (made,) = bisect_on_failure([prompt], lambda asked: [self._drawn(asked[0], how)])
        return [failed(made.error)] * how.n if isinstance(made, Failure) else made

    def _drawn(self, prompt: Prompt, how: Sampling) -> list[Reply]:
        self.render(prompt)  # refuses what cannot be sent
        cut: list[bool] = []

        def part(clip: Path) -> dict[str, Any]:
            wav, was_cut = chat_format.wav_of(clip, self.window_seconds)
            cut.append(was_cut)
            return chat_format.audio_part(wav, self.audio_part)

        sent = chat_format.messages(prompt, part)
        going_on = chat_format.CONTINUE if prompt.turns[-1].role == "assistant" else {}
        body = {"model": self.model, "messages": sent, "top_p": 1.0} | going_on | self.extra
        return self._chat.draw(body, how, truncated=any(cut))
