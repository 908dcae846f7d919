"""Replies that survive: every model call goes through here, and none is made twice.

In: a model and prompts. Out: replies, from the file where it has them, else from the model. Several processes
may use one file at once.

A reply is found again by what decides it: the model's fingerprint, the rendered prompt, the content of the
clip files, temperature, token limit, seed and the number of the sample (no seed at temperature 0, where all
samples are one). Not by the model's name or a clip's path. Failed and empty replies are returned and never
stored, so the next run asks again. A kill costs at most what is under way: a server's replies are each written as
they arrive, those of a model on this machine by chunks, each one transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from lalm_utils.cache import sha256_of
from lalm_utils.models import Decoding, Model, Prompt, Reply, failed
from lalm_utils.progress import bar
from lalm_utils.reply_file import SCHEMA, ReplyFile, StoreError

__all__ = ["SCHEMA", "Store", "StoreError", "reply_keys"]

CHUNK = 32  # prompts between two writes, if the model's own batches are not larger


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt as the store sees it; equal prompts are one question."""

    prompt: Prompt
    rendered: str
    clips: tuple[str, ...]  # SHA-256 of each file
    keys: tuple[str, ...]  # one per sample


class Store:
    """The response store in one file, created if it is not there. Usable as a context manager."""

    def __init__(self, path: str | Path, *, progress: bool | None = None) -> None:
        """`progress`: whether `ask` shows a bar where its own argument leaves that open. StoreError for a file that
        is not a store of this schema, which is left as it is."""
        self.path, self.progress = Path(path), progress
        self._file = ReplyFile(self.path)

    def ask(
        self,
        model: Model,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_new_tokens: int = 64,
        seed: int = 0,
        progress: bool | str | None = None,
        chunk: int | None = None,
    ) -> list[list[Reply]]:
        """One list of `n` replies per prompt, in order; the model is asked only for what is not in the store.

        Written as they arrive where the model has `arrivals` (a server), else after every `chunk` prompts (default:
        `CHUNK`, or one batch of the model if that is larger: a smaller chunk would leave a large batch part empty).
        `progress` labels a bar, which shows if somebody
        watches (see `lalm_utils.progress`), or is True or False, to show it or not. A prompt that cannot be
        rendered, or whose clip cannot be read, gets failed replies; an empty reply is returned as failed.
        ValueError for n or chunk under 1, and for what `Decoding` refuses.
        """
        chunk = max(CHUNK, getattr(model, "batch_size", 0)) if chunk is None else chunk
        if n < 1 or chunk < 1:
            raise ValueError(f"n={n}, chunk={chunk}: both are at least 1.")
        decoding = Decoding(n=n, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
        questions = [_question(model, prompt, decoding) for prompt in prompts]
        distinct = {question.keys: question for question in questions if isinstance(question, Question)}
        replies = self._file.find(key for keys in distinct for key in keys)
        missing = [question for keys, question in distinct.items() if not replies.keys() >= set(keys)]
        progress = self.progress if progress is None else progress
        label, show = (progress, None) if isinstance(progress, str) else (model.name, progress)
        with bar(label, total=len(distinct), done=len(distinct) - len(missing), show=show) as progress_bar:
            for start in range(0, len(missing), chunk):
                part = missing[start : start + chunk]
                replies |= self._ask_part(model, part, decoding)
                progress_bar.update(len(part))
        return [
            [question] * n if isinstance(question, Reply)
            else [replies[key] for key in question.keys] * (1 if temperature else n)
            for question in questions
        ]  # fmt: skip

    def merge(self, path: str | Path) -> int:
        """Add the replies of another store, and return how many were new; it keeps its own.

        Replies already here stay, so a second merge changes nothing. StoreError for what is no store of this
        schema.
        """
        return self._file.merge(Path(path))

    def __len__(self) -> int:
        """The number of replies stored."""
        return len(self._file)

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask_part(self, model: Model, part: Sequence[Question], decoding: Decoding) -> dict[str, Reply]:
        """Ask what no other process has stored meanwhile, store it, and return what the store now says."""
        stored = self._file.find(key for question in part for key in question.keys)
        groups: dict[int, list[Question]] = {}  # by the first sample that is missing
        for question in part:
            missing = [sample for sample, key in enumerate(question.keys) if key not in stored]
            if missing:
                groups.setdefault(missing[0], []).append(question)
        fresh: dict[str, Reply] = {}
        for first, group in groups.items():
            n = len(group[0].keys) - first
            for answered, replies in _generate(model, group, replace(decoding, n=n, first_sample=first)):
                self._file.write(_rows(model, answered, decoding, replies))
                fresh |= replies
        # whoever wrote first is right, so that both processes and every later run report the same replies
        return fresh | stored | self._file.find(fresh)


def reply_keys(fingerprint: str, rendered: str, clips: Sequence[str], decoding: Decoding) -> tuple[str, ...]:
    """The keys of a question's samples: SHA-256 over all that decides a reply, as JSON, to keep parts apart."""
    parts = (
        json.dumps([SCHEMA, fingerprint, rendered, list(clips), _settings(decoding), sample])
        for sample in decoding.samples
    )
    return tuple(hashlib.sha256(part.encode()).hexdigest() for part in parts)


def _settings(decoding: Decoding) -> str:
    """What decides a reply beside model, prompt and sample. Part of every key: it may never be written otherwise."""
    settings = {"max_new_tokens": decoding.max_new_tokens, "temperature": float(decoding.temperature)}
    return json.dumps(settings | ({"seed": decoding.seed} if decoding.temperature else {}), sort_keys=True)


def _question(model: Model, prompt: Prompt, decoding: Decoding) -> Question | Reply:
    try:
        rendered = model.render(prompt)
        clips = tuple(map(_clip_sha256, prompt.clips))
    except Exception as error:  # this prompt's failure, not the run's
        return failed(f"{type(error).__name__}: {error}")
    keys = reply_keys(model.fingerprint, rendered, clips, decoding)
    return Question(prompt=prompt, rendered=rendered, clips=clips, keys=keys)


def _generate(
    model: Model, group: Sequence[Question], decoding: Decoding
) -> Iterator[tuple[Sequence[Question], dict[str, Reply]]]:
    """The model's replies to each question's samples from `first_sample` on, by key; empty ones are failed ones.

    In parts that are whole, with the questions of each: one by one from a model that has `arrivals`, else all at once.
    """
    prompts, first = [question.prompt for question in group], decoding.first_sample
    settings = {
        "n": decoding.n,
        "temperature": decoding.temperature,
        "max_new_tokens": decoding.max_new_tokens,
        "seed": decoding.seed,
    } | ({"first_sample": first} if first else {})
    if hasattr(model, "arrivals"):
        for number, samples in model.arrivals(prompts, **settings):
            yield [group[number]], _by_key(model, [group[number]], [samples], decoding)
    else:
        yield group, _by_key(model, group, model.generate(prompts, **settings), decoding)


def _by_key(
    model: Model, group: Sequence[Question], replies: Sequence[Sequence[Reply]], decoding: Decoding
) -> dict[str, Reply]:
    n, first = decoding.n, decoding.first_sample
    if [len(samples) for samples in replies] != [n] * len(group):
        raise StoreError(
            f"{model.name}.generate returned {[len(samples) for samples in replies]} replies for "
            f"{len(group)} prompts with n={n}: it must return a list of n per prompt."
        )
    by_key = (zip(question.keys[first:], samples) for question, samples in zip(group, replies))
    return {key: _blank_as_failed(reply) for samples in by_key for key, reply in samples}


def _blank_as_failed(reply: Reply) -> Reply:
    if reply.finish != "failed" and not reply.text.strip():
        return replace(reply, text="", finish="failed", error="empty reply")
    return reply


def _rows(
    model: Model, part: Sequence[Question], decoding: Decoding, replies: dict[str, Reply]
) -> list[tuple[object, ...]]:
    """What is worth storing, in the order of `reply_file.COLUMNS`."""
    rows: list[tuple[object, ...]] = []
    for question in part:
        shared = (
            model.fingerprint,
            model.name,
            question.rendered,
            json.dumps(question.clips),
            _settings(decoding),
        )
        for sample, key in enumerate(question.keys):
            reply = replies.get(key)
            if reply is not None and reply.finish != "failed":
                rows.append((key, *shared, sample, reply.text, reply.n_tokens, reply.finish, reply.truncated))
    return rows


def _clip_sha256(path: Path) -> str:
    """SHA-256 of a clip's bytes, read once while size and date stay."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=65536)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of(path)
