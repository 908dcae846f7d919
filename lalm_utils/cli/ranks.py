"""Which of several processes this is, and what they say to each other.

In: the environment that `torchrun`, `accelerate launch` or `mpirun` sets (`NAMES`, MASTER_ADDR, MASTER_PORT).
Out: a `Rank`, and a `Channel` of texts under keys that all processes of the launch can read. It does not know
what the processes work on.

No process group is made and no collective is called. Processes that ask a model have nothing to reduce, and one
that dies then leaves no other waiting in a collective: whoever waits here waits for a key, for a bounded time,
and looks now and then whether the other still lives. Nobody waits for another while it asks.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

LOOK_SECONDS = 0.2  # between two looks at a key
GRACE_SECONDS = 2.0  # a process's last word may still be on its way when it has ended
# What launchers call a process's number, their count, and its number on its host: torch's names, then MPI's.
NAMES = (
    ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"),
    ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"),
    ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"),
)

log = logging.getLogger(__name__)


class RankError(RuntimeError):
    """The processes of a launch have not found, or have lost, each other. Replies are kept; run it again."""


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One process among `world`. Rank 0 is the one that writes results."""

    number: int = 0
    world: int = 1
    local: int = 0  # its number on its own host

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world == 1


ALONE = Rank()


def here(environ: Mapping[str, str] = os.environ) -> Rank:
    """This process's rank by its environment; the only one where nothing is said. RankError for nonsense."""
    said = [next((environ[name] for name in names if name in environ), None) for names in NAMES]
    number, world = said[0] or "0", said[1] or "1"
    local = said[2] or number
    text = f"RANK={number}, WORLD_SIZE={world}, LOCAL_RANK={local}"
    if not all(value.isdecimal() for value in (number, world, local)) or int(number) >= int(world):
        raise RankError(f"{text}: they are whole numbers, and a rank is less than the world's size.")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
    if int(world) > 1 and missing:
        raise RankError(
            f"{text}, but {' and '.join(missing)} not set, so the processes cannot find each other: start them "
            "with torchrun or accelerate launch."
        )
    if said[1] is None and "MASTER_ADDR" in environ and "ACCELERATE_USE_CPU" in environ:
        # it says so nowhere itself
        log.warning(
            "accelerate launch has started one process only, as its --cpu does without MPI: for several on CPUs "
            "give it --multi_gpu instead, or use torchrun --nproc-per-node."
        )
    return Rank(number=int(number), world=int(world), local=int(local))


class Channel:
    """Texts under keys, said once and readable by every rank of this launch, of no other one."""

    def __init__(self, rank: Rank, *, patience: float) -> None:
        """Meet the other ranks, within `patience` seconds; RankError if they do not all come."""
        from torch.distributed import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        try:
            found = rendezvous("env://", rank.number, rank.world, timeout=timedelta(seconds=patience))
            self._keys = PrefixStore("lalm_utils", next(found)[0])
        except (RuntimeError, ValueError, OSError) as error:
            raise RankError(
                f"rank {rank.number} of {rank.world}: the others were not met within {patience:.0f} s "
                f"({_first_line(error)}). Check MASTER_ADDR and MASTER_PORT, and that all were started."
            ) from error

    def say(self, key: str, text: str) -> None:
        """Let all ranks read `text` under `key`. RankError if the channel is gone."""
        try:
            self._keys.set(key, text)
        except RuntimeError as error:
            raise _gone(error) from error

    def heard(self, key: str) -> str | None:
        """What was said under `key`, or None; RankError if the channel is gone."""
        try:
            return self._keys.get(key).decode() if self._keys.check([key]) else None
        except RuntimeError as error:
            raise _gone(error) from error

    def wait(self, key: str, *, patience: float, ended: Callable[[], bool] = lambda: False) -> str:
        """What is said under `key`. RankError if `patience` seconds pass, or if whoever would say it `ended`."""
        deadline = time.monotonic() + patience
        while (text := self.heard(key)) is None:
            if ended():
                time.sleep(GRACE_SECONDS)
                if (text := self.heard(key)) is None:
                    raise RankError("its process has ended before its work was done")
                return text
            if time.monotonic() > deadline:
                raise RankError(f"nothing was heard for {patience:.0f} s; --wait allows longer")
            time.sleep(LOOK_SECONDS)
        return text


def _gone(error: RuntimeError) -> RankError:
    return RankError(f"rank 0 has gone ({_first_line(error)}). Replies so far are kept; run it again.")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
