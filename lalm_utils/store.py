"""Replies that survive: every model call goes through here, and none is made twice.

In: a model and prompts. Out: replies, from the file where it has them, else from the model. One SQLite file in
WAL mode, which several processes may use at once. It does not know what a reply means, or how it came about.

A reply is found again by what decides it: the model's fingerprint, the rendered prompt, the content of the clip
files, temperature, token limit, seed and the number of the sample (no seed at temperature 0, where all samples
are one). Not by the model's name or a clip's path. Failed and empty replies are returned and never stored, so the
next run asks again. Each chunk is one transaction: a kill costs at most the chunk in flight.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm.auto import tqdm

from lalm_utils.cache import sha256_of
from lalm_utils.models import Model, Prompt, Reply, failed
from lalm_utils.progress import watched

SCHEMA = 1
APPLICATION = 0x4C414C4D  # "LALM", in the file's header
PATIENCE_SECONDS = 60.0  # how long a process waits while another one writes
CHUNK = 32  # prompts between two writes
AT_ONCE = 500  # keys a query: SQLite bounds the number of parameters

TABLE = """
create table replies (
    key text primary key,      -- SHA-256, see `keys`
    fingerprint text not null, -- the rest is for people who look into the file, and for `Reply`
    model text not null,
    prompt text not null,
    clips text not null,       -- SHA-256 of the files, JSON list
    decoding text not null,    -- JSON object
    sample integer not null,
    text text not null,
    n_tokens integer not null,
    finish text not null,
    truncated integer not null,
    stored_at text not null default (datetime('now'))
) without rowid
"""


class StoreError(RuntimeError):
    """The file is not a store of this version, or the model broke its contract. Nothing has been changed."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt as the store sees it; equal prompts are one question."""

    prompt: Prompt
    rendered: str
    clips: tuple[str, ...]  # SHA-256 of each file
    keys: tuple[str, ...]  # one per sample


@dataclass(frozen=True, kw_only=True)
class Decoding:
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

    def __init__(self, path: str | Path) -> None:
        """Raises StoreError for a file that is not a store of this schema, and leaves it as it is."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = _connect(self.path)

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
        chunk: int = CHUNK,
    ) -> list[list[Reply]]:
        """One list of `n` replies per prompt, in order; the model is asked only for what is not in the store.

        Written after every `chunk` prompts. `progress`: True, False, a label for the bar, or None, where a bar
        shows if somebody watches (`lalm_utils.progress`). A prompt that cannot be rendered or whose clip cannot
        be read gets failed replies. An empty reply is returned as failed. Raises ValueError for n or chunk
        under 1.
        """
        if n < 1 or chunk < 1:
            raise ValueError(f"n={n}, chunk={chunk}: both are at least 1.")
        decoding = Decoding(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)
        samples = n if temperature else 1
        asked = [_question(model, prompt, decoding, samples) for prompt in prompts]
        questions = {question.keys: question for question in asked if isinstance(question, Question)}
        known = self._find(key for keys in questions for key in keys)
        waiting = [question for keys, question in questions.items() if not known.keys() >= set(keys)]
        with _bar(progress, model.name, done=len(questions) - len(waiting), total=len(questions)) as bar:
            for start in range(0, len(waiting), chunk):
                part = waiting[start : start + chunk]
                known |= self._ask_part(model, part, decoding)
                bar.update(len(part))
        replies = [
            [known[key] for key in question.keys] if isinstance(question, Question) else [question] * samples
            for question in asked
        ]
        return replies if temperature else [several * n for several in replies]

    def __len__(self) -> int:
        """The number of replies stored."""
        return self._connection.execute("select count(*) from replies").fetchone()[0]

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask_part(self, model: Model, part: Sequence[Question], decoding: Decoding) -> dict[str, Reply]:
        """Ask what another process has not answered meanwhile, store it, and return what the store now says."""
        known = self._find(key for question in part for key in question.keys)
        groups: dict[tuple[int, int], list[Question]] = {}
        for question in part:
            missing = [place for place, key in enumerate(question.keys) if key not in known]
            if missing:
                groups.setdefault((missing[0], len(question.keys)), []).append(question)
        fresh: dict[str, Reply] = {}
        for (first, count), group in groups.items():
            fresh |= _answers(model, group, decoding, first, count)
        self._write(model, part, decoding, {key: reply for key, reply in fresh.items() if key not in known})
        # whoever wrote first is right, so that both processes and every later run report the same replies
        return fresh | known | self._find(fresh)

    def _find(self, keys: Iterable[str]) -> dict[str, Reply]:
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"select key, text, n_tokens, finish, truncated from replies where key in ({marks})"
            for key, text, n_tokens, finish, truncated in self._connection.execute(query, some):
                found[key] = Reply(text=text, n_tokens=n_tokens, finish=finish, truncated=bool(truncated))
        return found

    def _write(
        self, model: Model, part: Sequence[Question], decoding: Decoding, replies: dict[str, Reply]
    ) -> None:
        rows = [
            (key, model.fingerprint, model.name, question.rendered, json.dumps(question.clips), str(decoding))
            + (sample, replies[key].text, replies[key].n_tokens, replies[key].finish, replies[key].truncated)
            for question in part
            for sample, key in enumerate(question.keys)
            if key in replies and replies[key].finish != "failed"
        ]
        columns = (
            "key, fingerprint, model, prompt, clips, decoding, sample, text, n_tokens, finish, truncated"
        )
        marks = ",".join("?" * 11)
        with _transaction(self._connection):
            self._connection.executemany(f"insert or ignore into replies ({columns}) values ({marks})", rows)


def keys(
    fingerprint: str, rendered: str, clips: Sequence[str], decoding: Decoding, n: int
) -> tuple[str, ...]:
    """The keys of samples 0 to n - 1: SHA-256 over all that decides a reply, as JSON so that parts cannot run together."""
    parts = [
        json.dumps([SCHEMA, fingerprint, rendered, list(clips), str(decoding), number]) for number in range(n)
    ]
    return tuple(hashlib.sha256(part.encode()).hexdigest() for part in parts)


def _question(model: Model, prompt: Prompt, decoding: Decoding, n: int) -> Question | Reply:
    try:
        rendered = model.render(prompt)
        clips = tuple(_file_sha256(str(clip), *_facts(clip)) for clip in prompt.clips)
    except Exception as error:  # this prompt's failure, not the run's
        return failed(f"{type(error).__name__}: {error}")
    return Question(
        prompt=prompt,
        rendered=rendered,
        clips=clips,
        keys=keys(model.fingerprint, rendered, clips, decoding, n),
    )


def _answers(
    model: Model, group: Sequence[Question], decoding: Decoding, first: int, count: int
) -> dict[str, Reply]:
    """The model's replies to samples first to count - 1, by key; empty ones turned into failed ones."""
    n = count - first
    replies = model.generate(
        [question.prompt for question in group],
        n=n,
        temperature=decoding.temperature,
        max_new_tokens=decoding.max_new_tokens,
        seed=decoding.seed,
        **({"first_sample": first} if first else {}),
    )
    if [len(several) for several in replies] != [n] * len(group):
        raise StoreError(
            f"{model.name}.generate returned {[len(several) for several in replies]} replies for {len(group)} prompts "
            f"with n={n}: it must return a list of n per prompt."
        )
    named = ((q.keys[first:], several) for q, several in zip(group, replies))
    return {key: _judged(reply) for keys_, several in named for key, reply in zip(keys_, several)}


def _judged(reply: Reply) -> Reply:
    if reply.finish != "failed" and not reply.text.strip():
        return replace(reply, text="", finish="failed", error="empty reply")
    return reply


def _facts(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=65536)
def _file_sha256(path: str, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file's bytes, read once while size and date stay."""
    return sha256_of(Path(path))


def _bar(progress: bool | str | None, name: str, *, done: int, total: int) -> tqdm:
    show = watched() if progress is None else bool(progress)
    label = progress if isinstance(progress, str) else name
    return tqdm(total=total, initial=done, desc=label, unit="prompt", disable=not show or done == total)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or, on any exception, nothing. The write lock is taken at the start, not midway."""
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")


def _connect(path: Path) -> sqlite3.Connection:
    """The file, checked before it is touched, then made a store if it is new."""
    _check_header(path)
    connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
    try:
        _check_schema(connection, path)
        _make_wal(connection)
        connection.execute("pragma synchronous=full")
        with _transaction(connection):
            if _check_schema(connection, path):  # another process may have been faster
                connection.execute(TABLE)
                connection.execute(f"pragma application_id={APPLICATION}")
                connection.execute(f"pragma user_version={SCHEMA}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreError(
            f"{path}: cannot be used as a store ({error}). Nothing was lost; mend the file or give another path."
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_header(path: Path) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; a store is a file. Give the path of a file in it.")
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        start = file.read(16)
    if start != b"SQLite format 3\0":
        raise StoreError(
            f"{path}: not a store, the file starts with {start!r}. Nothing was changed; give another path."
        )


def _check_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the database is new; StoreError if it is another program's or of another version."""
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("pragma application_id", "pragma user_version", "select count(*) from sqlite_master")
    )
    if application == version == tables == 0:
        return True
    if application != APPLICATION:
        raise StoreError(
            f"{path}: a database, but not a store of replies (application id {application}). Nothing was changed; "
            "give another path."
        )
    if version != SCHEMA:
        raise StoreError(
            f"{path}: a store of schema {version}, and this version reads schema {SCHEMA}. Nothing was changed; "
            "move the file aside, or use the version of lalm_utils that wrote it."
        )
    return False


def _make_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; the switch itself does not wait for other processes, so this does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
