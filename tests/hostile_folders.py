"""Hostile stores, adapters, weights, and names of models: what a run opens besides questions and clips.

`opened` takes the path of a store, `merged` that of one to merge, `found` a model's or an adapter's folder, and
`named` what a user may write for a model's name.
"""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_model import FakeModel, questions
from hostile import Case, cases
from hostile_audio import Runs

from lalm_utils.engine import weights
from lalm_utils.load_model import load_model, resolve
from lalm_utils.reply_file import APPLICATION, SCHEMA
from lalm_utils.store import Store

N = 40  # replies in a store, of 3,000 characters: some thirty pages
Build = Callable[[Path], Any]


def read_store(path: Path) -> list[str]:
    """The texts that a store gives for its questions; a model that is asked says "new"."""
    with Store(path, progress=False) as store:
        return [reply.text for (reply,) in store.ask(FakeModel(lambda text, sample: "new"), questions(N))]


def merge_store(path: Path) -> int:
    """How many replies a new store takes from the one at a path."""
    with Store(path.parent / "new.db") as store:
        return store.merge(path)


def fingerprint_of(folder: Path) -> str:
    """The fingerprint of a model's folder, or of an adapter's and its base's, whose weights are whole."""
    source = weights.find(folder, resolve=resolve)
    weights.refuse_damaged(source)
    return weights.fingerprint(source, "float32")


def load_by_name(name: str) -> Any:
    """The model of that name."""
    return load_model(name)


# Stores


def full(folder: Path) -> Path:
    path = folder / "replies.db"
    with Store(path, progress=False) as store:
        store.ask(FakeModel(lambda text, sample: "x" * 3_000), questions(N))
    return path


def changed(*statements: str) -> Build:
    """A store after these statements."""

    def build(folder: Path) -> Path:
        path = full(folder)
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()
        return path

    return build


def forged(*statements: str, application: int = APPLICATION, schema: int = SCHEMA) -> Build:
    """A database that says that it is a store."""

    def build(folder: Path) -> Path:
        path = folder / "replies.db"
        connection = sqlite3.connect(path)
        for pragma in (f"application_id={application}", f"user_version={schema}"):
            connection.execute(f"pragma {pragma}")
        for statement in statements or ("create table notes (text)",):
            connection.execute(statement)
        connection.commit()
        connection.close()
        return path

    return build


def edited(edit: Callable[[bytes], bytes]) -> Build:
    """A store whose bytes are changed."""

    def build(folder: Path) -> Path:
        path = full(folder)
        path.write_bytes(edit(path.read_bytes()))
        return path

    return build


def special(make: Callable[[Path], object], name: str = "replies.db") -> Build:
    def build(folder: Path) -> Path:
        make(folder / name)
        return folder / name

    return build


def damaged_within(data: bytes) -> bytes:
    return data[:8_192] + b"\xff" * 40_000 + data[48_192:]


# Weights


def tensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file; its header may say anything, and be said to be of any length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def described(shape: list[int], end: int, kind: str = "F32") -> dict[str, Any]:
    return {"a": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}


WHOLE = tensors(described([1], 4), bytes(4))


def model(config: str | bytes = "{}", content: bytes = WHOLE, name: str = "model.safetensors") -> Build:
    """A model's folder of these two files."""

    def build(folder: Path) -> Path:
        (folder / "config.json").write_bytes(config.encode() if isinstance(config, str) else config)
        (folder / name).write_bytes(content)
        return folder

    return build


def adapter(config: Any, content: bytes = WHOLE, name: str = "adapter_model.safetensors") -> Build:
    """An adapter's folder beside that of its base, `base`; a value becomes JSON."""

    def build(folder: Path) -> Path:
        for each in ("base", "adapter"):
            (folder / each).mkdir()
        model()(folder / "base")
        text = config if isinstance(config, str | bytes) else json.dumps(config)
        path = folder / "adapter" / "adapter_config.json"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        (folder / "adapter" / name).write_bytes(content)
        return folder / "adapter"

    return build


def based_on(name: Any) -> Build:
    return adapter({"base_model_name_or_path": name})


def model_of_pipes(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    os.mkfifo(folder / "model.safetensors")
    return folder


def is_old(texts: list[str]) -> bool:
    return texts == ["x" * 3_000] * N


def is_new(texts: list[str]) -> bool:
    return texts == ["new"] * N


def is_hash(text: str) -> bool:
    return len(text) == 64


UNUSABLE, NO_STORE = (
    "cannot be used as a store .* mend it or give another",
    "not a store, the file starts with",
)
NO_REPLY = r"no whole reply under key \w{64} .* Move the file aside"
STRANGE = "said to be a store of replies, but"
STORES = [
    ("broken stores", "a good one", full, is_old),
    ("broken stores", "an empty file", special(lambda path: path.touch()), is_new),
    ("broken stores", "a text", special(lambda path: path.write_text("my notes, do not lose")), NO_STORE),
    ("broken stores", "a pickle", special(lambda path: path.write_bytes(pickle.dumps(Runs()))), NO_STORE),
    (
        "broken stores",
        "a header alone",
        special(lambda path: path.write_bytes(b"SQLite format 3\0")),
        UNUSABLE,
    ),
    (
        "broken stores",
        "a header and noise",
        special(lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)),
        UNUSABLE,
    ),
    ("broken stores", "cut in its first page", edited(lambda data: data[:100]), UNUSABLE),
    ("broken stores", "cut after its first page", edited(lambda data: data[:4_096]), UNUSABLE),
    ("broken stores", "cut in half", edited(lambda data: data[: len(data) // 2]), UNUSABLE),
    ("broken stores", "cut by a byte", edited(lambda data: data[:-1]), lambda texts: True),
    (
        "broken stores",
        "overwritten within",
        edited(damaged_within),
        "cannot be read .* Move the file aside|" + UNUSABLE,
    ),
    (
        "broken stores",
        "another program's database",
        forged(application=7),
        "a database, but not a store of replies",
    ),
    (
        "broken stores",
        "a later schema",
        forged(schema=SCHEMA + 1),
        f"schema {SCHEMA + 1}, and this version reads",
    ),
    ("broken stores", "without a table of replies", forged(), STRANGE),
    (
        "broken stores",
        "without its columns",
        forged("create table replies (key)"),
        f"{STRANGE}.* has the columns key, or",
    ),
    (
        "broken stores",
        "a view in place of the table",
        forged("create table a (b)", "create view replies as select * from a"),
        STRANGE,
    ),
    (
        "broken stores",
        "a trigger that deletes",
        changed("create trigger t before insert on replies begin delete from replies; end"),
        STRANGE,
    ),
    ("broken stores", "texts that are bytes", changed("update replies set text = x'ff00'"), NO_REPLY),
    (
        "broken stores",
        "texts that are not UTF-8",
        changed("update replies set text = cast(x'ff00' as text)"),
        "cannot be read .*Could not decode to UTF-8",
    ),
    ("broken stores", "texts that are blank", changed("update replies set text = ' '"), is_new),
    ("broken stores", "an end that is unknown", changed("update replies set finish = 'failed'"), NO_REPLY),
    ("broken stores", "a count that is a text", changed("update replies set n_tokens = 'many'"), NO_REPLY),
    ("broken stores", "a folder", special(Path.mkdir), "is a folder; a store is a file"),
    ("broken stores", "a pipe", special(os.mkfifo), "cannot be opened|cannot be used"),
    (
        "broken stores",
        "a device, by a link",
        special(lambda path: path.symlink_to("/dev/zero")),
        "cannot be opened|cannot be used",
    ),
    (
        "broken stores",
        "a link to itself",
        special(lambda path: path.symlink_to(path.name)),
        "cannot be opened",
    ),
    (
        "broken stores",
        "a file in place of its folder",
        lambda folder: full(folder) / "replies.db",
        "cannot be opened",
    ),
    (
        "broken stores",
        "a name of 5,000 characters",
        lambda folder: folder / ("x" * 5_000),
        "cannot be opened .*too long",
    ),
    ("broken stores", "a name with a null", lambda folder: folder / "a\0b", "cannot be opened .*null"),
    (
        "broken stores",
        "a name that asks for another file",
        lambda folder: folder / "file:other.db?mode=memory",
        is_new,
    ),
    ("broken stores", "a database in memory by name", lambda folder: folder / ":memory:", is_new),
]
MERGED = [
    ("broken stores", "merged, a good one", full, lambda added: added == N),
    ("broken stores", "merged, without a table of replies", forged(), STRANGE),
    (
        "broken stores",
        "merged, cut in half",
        edited(lambda data: data[: len(data) // 2]),
        "cannot be (merged|used)",
    ),
    ("broken stores", "merged, a pipe", special(os.mkfifo), "cannot be opened|cannot be merged"),
    ("broken stores", "merged, not there", lambda folder: folder / "gone.db", "no such store"),
]

DAMAGED, NO_JSON = "damaged weights", "cannot be read as JSON"
GONE = "the adapter's base is not to be had; give it with base="
PICKLED = r"holds no \*\.safetensors\. Other formats can run code when read: convert them"
FOLDERS = [
    ("broken weights", "good ones", model(), is_hash),
    ("broken weights", "nothing", model(content=b""), DAMAGED),
    ("broken weights", "a pickle called safetensors", model(content=pickle.dumps(Runs())), DAMAGED),
    ("broken weights", "a pickle", model(content=pickle.dumps(Runs()), name="pytorch_model.bin"), PICKLED),
    ("broken weights", "a header of a terabyte", model(content=tensors({}, length=2**40)), DAMAGED),
    ("broken weights", "a header of 2**64 bytes", model(content=b"\xff" * 8 + b"{}"), DAMAGED),
    ("broken weights", "a header that is no JSON", model(content=tensors(b"{{{{")), DAMAGED),
    (
        "broken weights",
        "a header that is nested 50,000 deep",
        model(content=tensors(b'{"a":' * 50_000)),
        DAMAGED,
    ),
    (
        "broken weights",
        "four gigabytes that are not there",
        model(content=tensors(described([10**9], 4 * 10**9), bytes(4))),
        DAMAGED,
    ),
    (
        "broken weights",
        "a shape that its bytes do not fill",
        model(content=tensors(described([2], 4), bytes(4))),
        DAMAGED,
    ),
    (
        "broken weights",
        "a shape of more than all memory",
        model(content=tensors(described([2**62, 4], 4), bytes(4))),
        DAMAGED,
    ),
    (
        "broken weights",
        "numbers of an unknown kind",
        model(content=tensors(described([1], 4, "Q7"), bytes(4))),
        DAMAGED,
    ),
    ("broken weights", "bytes that no tensor claims", model(content=WHOLE + b"extra"), DAMAGED),
    ("broken weights", "a pipe", model_of_pipes, PICKLED),
    ("broken weights", "a configuration that is no JSON", model("{"), NO_JSON),
    ("broken weights", "a configuration of 100,000 brackets", model("[" * 100_000), NO_JSON),
    ("broken weights", "a configuration that is not UTF-8", model(b"\xff\xfe"), NO_JSON),
    (
        "broken weights",
        "a configuration that is a list",
        model("[1]"),
        r"holds \[1\], and a JSON object is needed",
    ),
    ("broken weights", "no configuration", lambda folder: folder, "holds no config.json .found: nothing."),
    ("adapters", "a good one", based_on("../base"), is_hash),
    (
        "adapters",
        "a pickle",
        adapter({"base_model_name_or_path": "../base"}, b"\x80", "adapter_model.bin"),
        PICKLED,
    ),
    (
        "adapters",
        "weights with a lying header",
        adapter({"base_model_name_or_path": "../base"}, tensors({}, length=2**40)),
        DAMAGED,
    ),
    ("adapters", "a configuration that is no JSON", adapter("{"), NO_JSON),
    ("adapters", "a configuration that is null", adapter("null"), "holds None, and a JSON object is needed"),
    ("adapters", "a configuration of 100,000 brackets", adapter('{"a":' * 100_000), NO_JSON),
    ("adapters", "no base", adapter({}), "names no base model"),
    ("adapters", "a base that is a list", based_on(["mini"]), r"names a base \['mini'\]: give the right one"),
    ("adapters", "a base that is a number", based_on(7), "names a base 7"),
    ("adapters", "a base with a null", based_on("base\0"), r"names a base 'base\\x00'"),
    ("adapters", "a base with a terminal's escapes", based_on("\x1b[2J"), r"names a base '\\x1b\[2J'"),
    ("adapters", "a base of a megabyte", based_on("x" * 1_000_000), r"names a base 'xxx.*\.\.\."),
    ("adapters", "a base that is absolute", based_on("/etc"), "/etc: holds no config.json"),
    ("adapters", "a base far above", based_on("../" * 40 + "etc"), "holds no config.json"),
    ("adapters", "a base in nobody's home", based_on("~nobody-of-that-name/base"), GONE),
    ("adapters", "a base that is an address", based_on("https://example.org/model"), GONE),
    ("adapters", "a base that is itself", based_on("."), "holds no config.json"),
]
MODELS = [
    ("addresses and keys", "a home of nobody", "~nobody-of-that-name/model", "there is no model"),
    ("addresses and keys", "a name with a null", "a\0b", r"there is no model 'a\\x00b'"),
    ("addresses and keys", "a name of a megabyte", "a/" * 500_000, r"there is no model 'a/a/.*\.\.\."),
    (
        "addresses and keys",
        "a server without a model",
        "openai:http://127.0.0.1:9/v1",
        "is no model of a server: write",
    ),
    (
        "addresses and keys",
        "another protocol",
        "openai:file:///etc/passwd#tiny",
        "is no model of a server: write",
    ),
    (
        "addresses and keys",
        "a user and a password",
        "openai:http://me:secret@127.0.0.1:9/v1#tiny",
        "has a user, a query or a fragment",
    ),
    (
        "addresses and keys",
        "a line end in the address",
        "openai:http://127.0.0.1:9\r\nHost: evil/v1#tiny",
        "the address is no URL",
    ),
    (
        "addresses and keys",
        "a port that is none",
        "openai:http://127.0.0.1:99999999/v1#tiny",
        "the address is no URL|cannot be asked",
    ),
    ("addresses and keys", "a host that is none", "openai:http://[::1/v1#tiny", "the address is no URL"),
    (
        "addresses and keys",
        "a host of odd letters",
        "openai:http://xn--a/v1#tiny",
        "the address is no URL|is no address|cannot be asked",
    ),
    ("addresses and keys", "no host", "openai:http:///v1#tiny", "is no address of a server"),
]


def _text_cases(rows: list[tuple]) -> list[Case]:
    return cases(
        [(kind, name, lambda folder, text=text: text, expected) for kind, name, text, expected in rows]
    )


TABLES = [
    (read_store, cases(STORES)),
    (merge_store, cases(MERGED)),
    (fingerprint_of, cases(FOLDERS)),
    (load_by_name, _text_cases(MODELS)),
]
