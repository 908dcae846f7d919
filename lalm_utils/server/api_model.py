"""Any OpenAI-compatible server that takes audio (vLLM, SGLang, a hosted one), behind the `Model` protocol.

In: a server's address and a model's name there, then prompts. Out: replies, and log-probabilities of options by a
reply's first token (`logprobs`). `chat` knows the protocol and `http` makes the calls. A call that fails, after all its
attempts, is a failed reply.

What is sent: `temperature`, `max_tokens`, `top_p` 1, and, where replies are sampled, `n` and `seed`. Everything
else is the server's own choice: vLLM, for one, takes repetition penalty and top-k from the model's stored
generation settings unless told otherwise, and a penalty changes greedy replies too. So `NEUTRAL` goes into `extra` if
the server knows these fields, which the health check finds out: it takes them, and refuses a penalty that none can be.
Of other servers a warning and `description` say that their own settings hold.

Sample k has the seed `seed + k`, as far as the server heeds seeds. n samples are one request with `n` and the
first sample's seed, which vLLM counts up for the others. Where a server gives fewer choices than that, or refuses
`n`, the rest are requests of their own. A server that samples all choices of a request with one seed gives equal
ones: `one_request=False` makes them n requests from the start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import islice
from typing import Any, get_args

import httpx
import numpy as np

from lalm_utils.audio import MIN_SECONDS, RATE, chirp
from lalm_utils.models import Decoding, ModelError, Prompt, Reply, failed
from lalm_utils.server import chat, logprobs
from lalm_utils.server.chat import AudioPart
from lalm_utils.server.http import Backoff, CallError, JsonClient

KEYS = ("LALM_UTILS_API_KEY", "OPENAI_API_KEY")  # of the environment; the first that is set counts
LIMITS = ("max_tokens", "max_completion_tokens")  # what servers call the limit of a reply
RESERVED = ("model", "messages", "n", "temperature", *LIMITS, "seed", "stream")
NEUTRAL = {"repetition_penalty": 1.0, "top_k": -1}
REFUSED = (400, 415, 422)  # statuses of servers that do not know a field, or a kind of part
ALIKE = 5  # prompts of which all samples are equal, and none is not: a warning
NO_LIST = (404, 405, 501)  # statuses of servers without a list of models
NO_N = (400, 422)  # ... and without `n`
CARD_FIELDS = ("id", "root", "parent", "owned_by")  # not "created", which for vLLM is the time of the request
PROBE = "What do you hear?"
PROBE_TOKENS = 32
SPECIAL_TOKENS = re.compile(r"(\s*<\|[^<>|]*\|>)+\s*|(\s*</?s>)+\s*")

log = logging.getLogger(__name__)


class ApiModel:
    """A model that a server runs. Keeps the `Model` protocol; safe to use inside a running event loop.

    Its `fingerprint` covers all that the server tells of the model, the address and the settings. **It cannot
    cover the weights**, which a server does not show: who restarts a server with other weights, precision or
    chat template under the same name must give each its own `revision`. A `revision` takes the address' place,
    so that the same deployment at another port finds its stored replies.
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
        audio_part: AudioPart | None = None,
        limit_field: str | None = None,
        neutral: bool | None = None,
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
        """Ask the server for its list of models, and refuse a `model` that is not on it, or fails `probe` (`check`).

        extra: further fields of each request; window_seconds: of a clip, the rest is cut and the reply marked
        truncated; audio_part: "input_audio", or "audio_url" for SGLang before August 2026; limit_field: one of LIMITS;
        neutral: whether NEUTRAL is sent. These three are found out by the health check where they are None; without
        it they are "input_audio", "max_tokens" and False. continues: the server knows vLLM's
        continue_final_message, without which a prompt that ends in the assistant's turn is refused;
        concurrency: requests under way at once; retries: attempts after the first, on 429, 500, 502, 503, 504,
        timeouts and broken connections; timeouts in seconds. A key is read from $LALM_UTILS_API_KEY, else
        from $OPENAI_API_KEY, and from nowhere else. It goes to the address, whoever is there: an empty
        LALM_UTILS_API_KEY sends none. Raises ModelError.
        """
        self.model, self.name, self.revision = model, name or model, revision
        self.continues, self.concurrency = continues, concurrency
        self.settings = {
            "extra": dict(extra or {}),
            "audio_part": audio_part or "input_audio",
            "one_request": one_request,
            "window_seconds": float(window_seconds),
        }
        self.limit_field = limit_field or LIMITS[0]
        _check(**self.settings)
        if self.limit_field not in LIMITS:
            raise ModelError(f"limit_field={limit_field!r}: one of {', '.join(LIMITS)}.")
        # what the health check tries, one after the other
        self._parts = (audio_part,) if audio_part else get_args(AudioPart)
        self._limits = (limit_field,) if limit_field else LIMITS
        self._neutral, self.sampling = neutral, "not asked whether the server's own settings hold"
        if neutral is not None:
            self._set_sampling(neutral)
        self._alike = self._unlike = 0  # prompts whose samples were all equal, and others
        self._one_request = one_request  # False once the server has answered one where it did not give n
        self._answered_as: set[tuple[str, str]] = set()  # (model, system fingerprint) of the answers so far
        try:
            self._server = JsonClient(
                address,
                key=next((os.environ[key] for key in KEYS if key in os.environ), "").strip(),
                allow_insecure=allow_insecure,
                connections=concurrency,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries=retries,
                backoff=backoff,
            )
            self.address = self._server.address
            self.reported = self._model_card(check)
            self.prompt_tokens = self.probe() if check else {}
        except CallError as error:
            raise ModelError(f"{model} cannot be asked: {error}.") from error
        source = {"revision": revision} if revision else {"address": self.address}
        facts = {"protocol": "openai chat", "model": model, "reported": self.reported}
        text = json.dumps(facts | self.settings | source, sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"ApiModel({self.address!r}, {self.model!r})"

    @property
    def description(self) -> dict[str, Any]:
        """What a reader must know to judge a number that this model gave."""
        return self.settings | {
            "name": self.name,
            "class": type(self).__name__,
            "address": self.address,
            "model": self.model,
            "reported": self.reported,
            # hosted servers may change them between calls
            "answered_as": sorted(self._answered_as),
            "weights": "not seen: a server does not show them",
            "fingerprint": self.fingerprint,
            "revision": self.revision,
            "device": "the server's",
            "sampling": self.sampling,
            "limit_field": self.limit_field,
            "prompt_tokens": self.prompt_tokens or "not told",
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
                "vLLM and SGLang do: load the model with continues=True (--server-option continues=true)."
            )
        return chat.render(prompt)

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
        settings = {"n": n, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
        replies = dict(self.arrivals(prompts, **settings, first_sample=first_sample))
        return [replies[number] for number in range(len(prompts))]

    def arrivals(self, prompts: Sequence[Prompt], **settings: Any) -> Iterator[tuple[int, list[Reply]]]:
        """The number of each prompt and its replies, as they arrive; `settings` are those of `generate`.

        A prompt is sent in place of one whose replies have been taken. So a caller that writes them down before it
        asks for more loses `concurrency` requests at most when it is killed, however slowly it writes.
        """
        decoding, queue = Decoding(**settings), enumerate(prompts)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="lalm-api")

        def send(count: int) -> dict[Future[list[Reply]], int]:
            return {
                pool.submit(self._replies, prompt, decoding): number
                for number, prompt in islice(queue, count)
            }

        try:
            calls = send(self.concurrency)
            while calls:
                for call in wait(calls, return_when=FIRST_COMPLETED).done:
                    self._notice_copies(call.result(), decoding)
                    yield calls.pop(call), call.result()
                    calls |= send(1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for what is under way

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """Each option's log-probability by the reply's first token (logprobs.py), (n_options,) per prompt.

        Not of the whole reply, as `Model` has it: a server gives no likelihood of a text that it did not write. NaN
        where the call failed or no option begins with a listed token, as when a model thinks or answers by letter.
        ModelError for a server that gives no `top_logprobs`.
        """
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="lalm-api")
        try:
            return [call.result() for call in [pool.submit(self._score, prompt) for prompt in prompts]]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # as for replies

    def _score(self, prompt: Prompt) -> np.ndarray:
        nothing = np.full(len(prompt.options), np.nan)
        try:
            body, _ = self._chat(prompt, Decoding(max_new_tokens=1))
            answer = self._server.call("/chat/completions", body | logprobs.FIELDS)
        except Exception as error:  # as in _replies: it costs this prompt alone
            if isinstance(error, CallError) and error.status in REFUSED:
                raise self._no_logprobs(str(error)) from error
            log.warning("no log-probabilities: %s: %s", type(error).__name__, error)
            return nothing
        first = logprobs.top(answer)
        if first is None:
            raise self._no_logprobs("its answer has none")
        scores = logprobs.options(first, prompt.options)
        if np.isnan(scores).any():
            log.warning("%s: no option begins with a likely token, such as %.40r", self.name, first[0][0])
        return scores

    def _no_logprobs(self, why: str) -> ModelError:
        return ModelError(
            f"{self.name} cannot score options: the server gives no top_logprobs of the first token ({why}). vLLM and "
            "SGLang do; else sample replies with generate, or load the weights with load_model(folder or hub id)."
        )

    def probe(self) -> dict[str, int]:
        """A question before a thousand: its prompt's tokens with_clip and without_clip, {} if the server does not tell.

        ModelError for a reply that is empty or special tokens alone, which is all that some releases of transformers
        behind vLLM give, and for a prompt that is no longer with a clip than without: the clip was dropped. Whether
        the model makes use of what it hears is not seen here; `runs.with_silence` and `runs.swap_clips` tell.

        Finds out on the way what was left open: `audio_part`, `limit_field`, and whether `NEUTRAL` is known.
        """
        faults: list[Exception] = []  # the first is about what servers mostly take
        for kind in self._parts:
            try:
                self.settings["audio_part"], counts = kind, self._probe_clips(kind)
                break
            except (CallError, ModelError) as error:
                faults.append(error)
                if isinstance(error, CallError) and error.status not in REFUSED:
                    raise
        else:
            self.settings["audio_part"] = self._parts[0]
            raise faults[0]
        if self._neutral is None:
            self._set_sampling(self._knows_neutral())
        return counts

    def _probe_clips(self, kind: AudioPart) -> dict[str, int]:
        clip = chat.audio_part(chirp()[: round(self.settings["window_seconds"] * RATE)], kind)
        reply, with_clip, reasoning = self._probe_limits([clip, {"type": "text", "text": PROBE}])
        fault = reply.error or ("special tokens alone" if SPECIAL_TOKENS.fullmatch(reply.text) else "")
        if fault and not reasoning:  # a model that thinks is alive, and asked with more tokens later
            raise ModelError(
                f"{self.model} gives no reply to a first question about a clip of a second: {fault}"
                f"{f', {reply.text[:80]!r}' if reply.text else ''}. Check the model's and transformers' releases on "
                "the server (vLLM with transformers 5.10.0 to 5.10.3 replies so); check=False (--no-check) skips this "
                "test."
            )
        try:
            _, without_clip, _ = self._probe(PROBE)
        except CallError:  # a server may refuse what has no clip
            without_clip = None
        if with_clip is None or without_clip is None:
            log.warning(
                "%s: the server does not count the tokens of prompts, so it cannot be told whether clips reach the "
                "model; compare with runs.with_silence",
                self.model,
            )
            return {}
        if with_clip <= without_clip:
            raise ModelError(
                f"{self.model} gets no audio: a question has {with_clip} tokens with a clip and {without_clip} "
                f"without, so the server drops the clip. Try another audio_part than {kind!r}, and check "
                "that the server runs a model with audio; check=False (--no-check) skips this test."
            )
        return {"with_clip": with_clip, "without_clip": without_clip}

    def _probe_limits(self, content: list[dict[str, Any]]) -> tuple[Reply, int | None, str]:
        """`_probe` under the first name of the limit that the server takes. CallError if it takes none."""
        refusal: CallError | None = None
        for field in self._limits:
            self.limit_field = field
            try:
                return self._probe(content)
            except CallError as error:
                refusal = refusal or error
                if error.status not in REFUSED:
                    break
        self.limit_field = self._limits[0]
        raise refusal

    def _knows_neutral(self) -> bool:
        """Whether the server takes `NEUTRAL`, and refuses a penalty that none can be, so that it heeds these fields."""
        body = self._body([{"role": "user", "content": PROBE}], Decoding(max_new_tokens=1))

        def is_taken(fields: Mapping[str, Any]) -> bool | None:
            try:
                self._server.call("/chat/completions", body | fields, retries=0)
            except CallError as error:
                return False if error.status in REFUSED else None
            return True

        return is_taken({"repetition_penalty": -1.0}) is False and is_taken(NEUTRAL) is True

    def _set_sampling(self, neutral: bool) -> None:
        """Send `NEUTRAL` from now on, where `extra` does not say otherwise, or tell that the server's settings hold."""
        extra = self.settings["extra"]
        if neutral:
            self.settings["extra"] = NEUTRAL | extra
        if NEUTRAL.keys() <= self.settings["extra"].keys():
            self.sampling = "as extra says"
            return
        self.sampling = f"the server's own, but for temperature and top_p: {', '.join(NEUTRAL)} are not sent"
        if self._neutral is None:
            log.warning(
                "%s: the server does not take %s, so its own or the model's stored settings hold; a penalty changes "
                "greedy replies too. Look them up, or set them by extra (--server-option extra=...)",
                self.model, " and ".join(NEUTRAL),
            )  # fmt: skip

    def _notice_copies(self, replies: Sequence[Reply], decoding: Decoding) -> None:
        """Warn, once, of a server whose samples are copies of one."""
        texts = {reply.text for reply in replies if reply.finish != "failed"}
        if not decoding.temperature or len(replies) < 2 or not texts:
            return
        self._alike, self._unlike = self._alike + (len(texts) == 1), self._unlike + (len(texts) > 1)
        if self._alike == ALIKE and not self._unlike:
            log.warning(
                "%s: all samples of each of the first %d prompts are equal at temperature %g, so counting them counts "
                "one. The server may give all choices one seed (one_request=False, --server-option one_request=false) "
                "or not sample at all (transformers serve heeds do_sample in the model's generation_config.json).",
                self.model, ALIKE, decoding.temperature,
            )  # fmt: skip

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def _model_card(self, check: bool) -> dict[str, str]:
        """What the server's list says of the model; empty where there is no list.

        check: ModelError for a model that is not on the list, CallError for a list that cannot be had.
        """
        try:
            answer = self._server.call("/models")
        except CallError as error:
            if check and error.status not in NO_LIST:
                raise
            return {}
        cards = answer.get("data") if isinstance(answer, dict) else None
        cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
        card = next((card for card in cards if card.get("id") == self.model), None)
        if check and cards and card is None:
            names = (str(card.get("id"))[:80] for card in cards[:5])
            some = ", ".join(name if name.isprintable() else ascii(name) for name in names)
            raise ModelError(
                f"{self.address} has no model {self.model!r} on its list, which starts with {some}. Check the "
                "spelling; check=False asks it all the same."
            )
        values = ((key, (card or {}).get(key)) for key in CARD_FIELDS)
        return {key: value for key, value in values if isinstance(value, str)}

    def _probe(self, content: str | list[dict[str, Any]]) -> tuple[Reply, int | None, str]:
        """A greedy reply, the tokens of its prompt (None: not said) and the reasoning before it. Raises CallError."""
        body = self._body([{"role": "user", "content": content}], Decoding(max_new_tokens=PROBE_TOKENS))
        answer = self._server.call("/chat/completions", body)
        (reply,) = chat.replies(answer, at_most=1)
        return reply, chat.usage(answer, "prompt_tokens"), chat.reasoning(answer["choices"][0])

    def _body(self, messages: list[dict[str, Any]], decoding: Decoding) -> dict[str, Any]:
        body = {"model": self.model, "messages": messages, "top_p": 1.0} | self.settings["extra"]
        return body | {"temperature": decoding.temperature, self.limit_field: decoding.max_new_tokens}

    def _chat(self, prompt: Prompt, decoding: Decoding) -> tuple[dict[str, Any], bool]:
        """The request's body, and whether a clip was cut. ModelError for a prompt that cannot be sent."""
        self.render(prompt)
        settings = self.settings
        messages, truncated = chat.request_messages(
            prompt, settings["audio_part"], settings["window_seconds"]
        )
        body = self._body(messages, decoding)
        # what `extra` says goes before
        return (chat.CONTINUE | body if prompt.turns[-1].role == "assistant" else body), truncated

    def _replies(self, prompt: Prompt, decoding: Decoding) -> list[Reply]:
        try:
            body, truncated = self._chat(prompt, decoding)
            samples = self._sample(body, decoding)
            return [replace(reply, truncated=truncated and not reply.error) for reply in samples]
        except Exception as error:  # whatever it was, it costs this prompt alone
            log.warning("no reply: %s: %s", type(error).__name__, error)
            return [failed(f"{type(error).__name__}: {error}")] * decoding.n

    def _sample(self, body: Mapping[str, Any], decoding: Decoding) -> list[Reply]:
        """`decoding.n` replies to the chat in `body`, sample k with the seed `seed + k`.

        At temperature 0 one reply stands for all, and no seed is sent. Of requests of their own, the first
        that fails takes the later ones with it. Raises CallError if no reply at all is to be had.
        """
        n = decoding.n
        if decoding.temperature == 0:
            return self._complete(body, 1) * n
        seeds = [decoding.seed + number for number in decoding.samples]
        together, samples = n > 1 and self._one_request, []
        if together:
            try:
                samples = self._complete({**body, "n": n, "seed": seeds[0]}, n)
            except CallError as error:
                if error.status not in NO_N:
                    raise
        while len(samples) < n:
            try:
                samples += self._complete({**body, "seed": seeds[len(samples)]}, 1)
                self._one_request = self._one_request and not together
            except CallError as error:
                if not samples:
                    raise
                samples += [failed(f"{type(error).__name__}: {error}")] * (n - len(samples))
        return samples

    def _complete(self, body: Mapping[str, Any], at_most: int) -> list[Reply]:
        answer = self._server.call("/chat/completions", body)
        samples = chat.replies(answer, at_most=at_most)
        names = (answer.get("model"), answer.get("system_fingerprint"))
        self._answered_as.add(tuple(str(name or "")[:200] for name in names))
        return samples


def _check(*, extra: dict[str, Any], audio_part: str, window_seconds: float, one_request: bool) -> None:
    if clash := sorted(set(extra) & set(RESERVED)):
        raise ModelError(f"extra has {', '.join(clash)}, set by generate itself: leave it out.")
    if audio_part not in get_args(AudioPart):
        raise ModelError(f"audio_part={audio_part!r}: one of {', '.join(get_args(AudioPart))}.")
    if not window_seconds >= MIN_SECONDS:
        raise ModelError(f"window_seconds={window_seconds}: at least {MIN_SECONDS}, as a clip is.")
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"extra cannot be written as JSON ({error}): give plain values.") from error
