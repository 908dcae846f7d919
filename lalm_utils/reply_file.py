"""The file that replies are kept in: one SQLite database, shared by any number of processes.

In: a path, then keys and rows. Out: replies by key.

On a disk of this machine it is in WAL mode. That keeps an index in memory that hosts cannot share, so on a network file
system (a home on a cluster) the file has a rollback journal instead, and each access holds the lock of a file beside
it. What is a network file system is read from /proc/mounts, and so on Linux alone.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lalm_utils.messages import join, short_repr
from lalm_utils.models import Reply

SCHEMA = 1
APPLICATION = 0x4C414C4D  # "LALM", in the file's header
TIMEOUT_SECONDS = 60.0  # how long a process waits while another one writes
KEYS_PER_QUERY = 500  # SQLite bounds the number of parameters

MOUNTS = Path("/proc/mounts")
NETWORK = (
    *(
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fhgfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
    ),
    *("orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs"),
    *("fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "fuse.weed"),
)

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

BLANK = "trim(text, char(9, 10, 13, 32)) = ''"
COLUMNS = (
    *("key", "fingerprint", "model", "prompt", "clips", "decoding", "sample"),
    *("text", "n_tokens", "finish", "truncated"),
)


class StoreError(RuntimeError):
    """The file is not a store of this version, or the model broke its contract. Nothing has been changed."""


class ReplyFile:
    """Rows of `COLUMNS` under their keys. The first row under a key stays, and none is ever changed, but for a blank
    reply: `Store` writes none, and one that came here otherwise counts as not there."""

    def __init__(self, path: Path) -> None:
        """Open or create. StoreError for a file that is no store of this schema, which is left as it is."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.path, self._lock = path, _lock(path)
            with self._lock:
                self._connection = _connect(path, wal=isinstance(self._lock, nullcontext))
        except (Timeout, NotImplementedError) as error:
            raise StoreError(
                f"{path}: lies on a network file system ({network_of(path)}), and the lock beside it cannot be had "
                f"({error}). Wait for the process that holds it, or give a --store on a disk of this machine."
            ) from error
        except (OSError, ValueError) as error:  # a file in place of a folder, or no path at all
            raise StoreError(f"{path}: cannot be opened ({error}). Correct the path.") from error

    def find(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The replies that are there, by key."""
        keys, replies = list(keys), {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            batch = keys[start : start + KEYS_PER_QUERY]
            placeholders = ",".join("?" * len(batch))
            query = (
                "select key, text, n_tokens, finish, truncated from replies "
                f"where key in ({placeholders}) and not {BLANK}"
            )
            try:
                with self._lock:
                    rows = self._connection.execute(query, batch).fetchall()
            except sqlite3.DatabaseError as error:
                raise StoreError(
                    f"{self.path}: cannot be read ({str(error)[:200]}). Move the file aside, and ask anew."
                ) from error
            replies |= {row[0]: self._reply(*row) for row in rows}
        return replies

    def _reply(self, key: str, text: Any, n_tokens: Any, finish: Any, truncated: Any) -> Reply:
        """A row as a reply. StoreError for one that was never written here: its text would be graded as it is."""
        whole = isinstance(text, str) and text.strip() and isinstance(n_tokens, int)
        if not whole or finish not in ("stop", "length"):
            raise StoreError(
                f"{self.path}: no whole reply under key {key} ({short_repr((text, n_tokens, finish))}). Move the file "
                "aside, and ask anew."
            )
        return Reply(text=text, n_tokens=n_tokens, finish=finish, truncated=bool(truncated))

    def write(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Add rows in one transaction, on the disk when this returns; keys already there keep their reply."""
        columns, placeholders = ",".join(COLUMNS), ",".join("?" * len(COLUMNS))
        insert = f"insert or ignore into replies ({columns}) values ({placeholders})"
        rows = list(rows)
        with self._lock, _transaction(self._connection):
            keys = [(row[0],) for row in rows]
            self._connection.executemany(f"delete from replies where key = ? and {BLANK}", keys)
            self._connection.executemany(insert, rows)

    def merge(self, path: Path) -> int:
        """Add the rows of the store at `path`, in one transaction, and return how many of them were new.

        Keys already here keep their reply, so a second merge changes nothing. `path` keeps its rows, and may
        be in use. StoreError where there is no store of this schema; neither file has changed then.
        """
        columns, placeholders = ",".join((*COLUMNS, "stored_at")), ",".join("?" * (len(COLUMNS) + 1))
        insert = f"insert or ignore into replies ({columns}) values ({placeholders})"
        other = _open_existing(path)
        try:
            if _check_schema(other, path):  # empty, left by a process that was killed while it made the file
                return 0
            before = self._connection.total_changes
            with self._lock, _transaction(self._connection):
                self._connection.executemany(
                    insert, other.execute(f"select {columns} from replies where not {BLANK}")
                )
            return self._connection.total_changes - before
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: cannot be merged ({error}). Nothing was changed; mend it.") from error
        finally:
            other.close()

    def __len__(self) -> int:
        with self._lock:
            return self._connection.execute("select count(*) from replies").fetchone()[0]

    def close(self) -> None:
        """Close the file. Nothing is lost without it."""
        self._connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or, on any exception, nothing. The write lock is taken at the start, not midway."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:  # a full disk has undone it already
            connection.execute("rollback")
        raise


def network_of(path: Path) -> str:
    """The type of the network file system that `path` lies on, or will; "" for a disk of this machine."""
    try:
        mounts = [line.split(" ")[1:3] for line in MOUNTS.read_text(errors="replace").splitlines()]
    except (OSError, IndexError):  # no Linux
        return ""
    folder, deepest, kind = path.absolute().parent.resolve(), -1, ""
    for mount, name in mounts:
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount))
        if (
            folder.is_relative_to(point) and len(point.parts) >= deepest
        ):  # the later one lies above the earlier
            deepest, kind = len(point.parts), name
    return kind if kind in NETWORK else ""


def _lock(path: Path) -> FileLock | nullcontext:
    """What each access to the store holds: nothing where SQLite's own locks do."""
    if not network_of(path):
        return nullcontext()
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=TIMEOUT_SECONDS)


def _connect(path: Path, *, wal: bool) -> sqlite3.Connection:
    """The file, checked before it is touched, then made a store if it is new."""
    _check_header(path)
    connection = _connection(path)
    try:
        _check_schema(connection, path)
        _set_journal(connection, "wal" if wal else "delete")
        connection.execute("pragma synchronous=full")
        with _transaction(connection):
            if _check_schema(connection, path):  # another process may have been faster
                connection.execute(TABLE)
                connection.execute(f"pragma application_id={APPLICATION}")
                connection.execute(f"pragma user_version={SCHEMA}")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreError(
            f"{path}: cannot be used as a store ({error}). Nothing was changed: mend it or give another."
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _open_existing(path: Path) -> sqlite3.Connection:
    """A database that is there; none is made."""
    if not path.exists():
        raise StoreError(f"{path}: no such store. Correct the path.")
    _check_header(path)
    return _connection(f"{path.absolute().as_uri()}?mode=rw", uri=True)


def _connection(path: Path | str, **options: bool) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=TIMEOUT_SECONDS, isolation_level=None, **options)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: cannot be opened ({error}). Give a path in a folder that you may write to."
        ) from error


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
            f"{path}: a database, but not a store of replies (application id {application}). Nothing was "
            "changed; give another path."
        )
    if version != SCHEMA:
        raise StoreError(
            f"{path}: a store of schema {version}, and this version reads schema {SCHEMA}. Nothing was "
            "changed; move the file aside, or use the version of lalm_utils that wrote it."
        )
    columns = [row[0] for row in connection.execute("select name from pragma_table_info('replies')")]
    others = connection.execute("select count(*) from sqlite_master where type in ('trigger', 'view')")
    if not {*COLUMNS, "stored_at"} <= set(columns) or others.fetchone()[0]:
        raise StoreError(
            f"{path}: said to be a store of replies, but its table of replies has the columns {join(columns)}, or "
            "something is done when rows are added. Nothing was changed; give another path."
        )
    return False


def _set_journal(connection: sqlite3.Connection, mode: str) -> None:
    """Switch to this journal; the switch itself does not wait for other processes, so this does."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            connection.execute(f"pragma journal_mode={mode}")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
