"""Replies that survive: every model call goes through here, and none is made twice.

In: a model and prompts. Out: replies, from the file where it has them, else from the model. Several processes
may use one file at once. It does not know what a reply means.

A reply is found again by what decides it: the model's fingerprint, the rendered prompt, the content of the
clip files, temperature, token limit, seed and the number of the sample (no seed at temperature 0, where all
samples are one). Not by the model's name or a clip's path. Failed and empty replies are returned and never
stored, so the next run asks again. Each chunk is one transaction: a kill costs at most the chunk in flight.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from lalm_utils.cache import sha256_of
from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.progress import bar
from lalm_utils.reply_file import SCHEMA, ReplyFile, StoreError

__all__ = ["SCHEMA", "Store", "StoreError", "keys"]

CHUNK = 32  # prompts between two writes, if the model's own batches are not larger


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt as the store sees it; equal prompts are one question."""

    prompt: Prompt
    rendered: str
    clips: tuple[str, ...]  # SHA-256 of each file
    keys: tuple[str, ...]  # one per sample


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What, beside model and prompt, decides a reply."""

    temperature: float
    max_new_tokens: int
    seed: int

    def __str__(self) -> str:
        seed = {"seed": self.seed} if self.temperature else {}
        kept = {"temperature": float(self.temperature), "max_new_tokens": self.max_new_tokens}
        return json.dumps(kept | seed, sort_keys=True)


class Store:
    """The response store in one file, created if it is not there. Usable as a context manager."""

    def __init__(self, path: str | Path, *, progress: bool | None = None) -> None:
        """`progress`: what `ask` does where it is not told. StoreError for a file that is not a store of this
        schema, which is left as it is."""
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

        Written after every `chunk` prompts (default: `CHUNK`, or one batch of the model if that is larger: a
        smaller chunk would leave a large batch part empty). `progress` labels a bar, which shows if somebody
        watches (see `lalm_utils.progress`), or is True or False, to show it or not. A prompt that cannot be
        rendered, or whose clip cannot be read, gets failed replies; an empty reply is returned as failed.
        ValueError for n or chunk under 1.
        """
        chunk = max(CHUNK, getattr(model, "batch_size", 0)) if chunk is None else chunk
        if n < 1 or chunk < 1:
            raise ValueError(f"n={n}, chunk={chunk}: both are at least 1.")
        settings = Settings(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
        samples = n if temperature else 1
        asked = [_question(model, prompt, settings, samples) for prompt in prompts]
        questions = {question.keys: question for question in asked if isinstance(question, Question)}
        known = self._file.find(key for keys in questions for key in keys)
        waiting = [question for keys, question in questions.items() if not known.keys() >= set(keys)]
        progress = self.progress if progress is None else progress
        label, show = (progress, None) if isinstance(progress, str) else (model.name, progress)
        done = len(questions) - len(waiting)
        with bar(label, total=len(questions), done=done, show=show) as shown:
            for start in range(0, len(waiting), chunk):
                part = waiting[start : start + chunk]
                known |= self._ask_part(model, part, settings)
                shown.update(len(part))
        replies = [
            [known[key] for key in question.keys] if isinstance(question, Question) else [question] * samples
            for question in asked
        ]
        return replies if temperature else [several * n for several in replies]

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

    def _ask_part(self, model: Model, part: Sequence[Question], settings: Settings) -> dict[str, Reply]:
        """Ask what no other process has stored meanwhile, store it, and return what the store now says."""
        known = self._file.find(key for question in part for key in question.keys)
        groups: dict[int, list[Question]] = {}
        for question in part:
            missing = [sample for sample, key in enumerate(question.keys) if key not in known]
            if missing:
                groups.setdefault(missing[0], []).append(question)
        fresh: dict[str, Reply] = {}
        for first, group in groups.items():
            fresh |= _answers(model, group, settings, first)
        self._file.write(_rows(model, part, settings, fresh))
        # whoever wrote first is right, so that both processes and every later run report the same replies
        return fresh | known | self._file.find(fresh)


def keys(
    fingerprint: str, rendered: str, clips: Sequence[str], settings: Settings, n: int
) -> tuple[str, ...]:
    """The keys of samples 0 to n - 1: SHA-256 over all that decides a reply, as JSON, to keep parts apart."""
    parts = [
        json.dumps([SCHEMA, fingerprint, rendered, list(clips), str(settings), number]) for number in range(n)
    ]
    return tuple(hashlib.sha256(part.encode()).hexdigest() for part in parts)


def _question(model: Model, prompt: Prompt, settings: Settings, n: int) -> Question | Reply:
    try:
        rendered = model.render(prompt)
        clips = tuple(_file_sha256(str(clip), *_facts(clip)) for clip in prompt.clips)
    except Exception as error:  # this prompt's failure, not the run's
        return failed(f"{type(error).__name__}: {error}")
    return Question(
        prompt=prompt,
        rendered=rendered,
        clips=clips,
        keys=keys(model.fingerprint, rendered, clips, settings, n),
    )


def _answers(model: Model, group: Sequence[Question], settings: Settings, first: int) -> dict[str, Reply]:
    """The model's replies to each question's samples from `first` on, by key; empty ones are failed ones."""
    n = len(group[0].keys) - first
    replies = model.generate(
        [question.prompt for question in group],
        n=n,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
        **({"first_sample": first} if first else {}),
    )
    if [len(several) for several in replies] != [n] * len(group):
        raise StoreError(
            f"{model.name}.generate returned {[len(several) for several in replies]} replies for "
            f"{len(group)} prompts with n={n}: it must return a list of n per prompt."
        )
    named = ((q.keys[first:], several) for q, several in zip(group, replies))
    return {key: _judged(reply) for keys_, several in named for key, reply in zip(keys_, several)}


def _judged(reply: Reply) -> Reply:
    if reply.finish != "failed" and not reply.text.strip():
        return replace(reply, text="", finish="failed", error="empty reply")
    return reply


def _rows(
    model: Model, part: Sequence[Question], settings: Settings, fresh: dict[str, Reply]
) -> list[tuple[object, ...]]:
    """What is worth storing, in the order of `reply_file.COLUMNS`."""
    rows: list[tuple[object, ...]] = []
    for question in part:
        asked = (model.fingerprint, model.name, question.rendered, json.dumps(question.clips), str(settings))
        for sample, key in enumerate(question.keys):
            reply = fresh.get(key)
            if reply is not None and reply.finish != "failed":
                rows.append((key, *asked, sample, reply.text, reply.n_tokens, reply.finish, reply.truncated))
    return rows


def _facts(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=65536)
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file's bytes, read once while size and date stay."""
    return sha256_of(Path(path))
