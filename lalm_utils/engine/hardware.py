"""Which device, which number format and how many threads suit this machine.

In: "auto" or an explicit choice. Out: what torch should use. It knows nothing of models.

The thread count matters more than anything else on a CPU: every operation ends in a barrier that waits for
the slowest thread, so one thread too many on a machine with other work makes small operations some 20 times
slower (measured: 16 ms instead of 0.7 ms for an elementwise one). `pick_threads` therefore counts the cores
that are idle at the moment. LALM_UTILS_THREADS, else OMP_NUM_THREADS, overrides it.

Where the next block of memory comes from matters too (`keep_freed_memory`, `give_back_memory`), and so does whether
heads share their keys or copy them (`share_heads`).
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lalm_utils.models import ModelError

MAX_THREADS = 16  # a batch of short prompts does not feed more
CPUINFO, STAT, QUOTA = Path("/proc/cpuinfo"), Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.max")
BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's names and numbers of its settings
FORCE_GQA = "TRANSFORMERS_SDPA_FORCE_GQA"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str = "auto") -> torch.device:
    """`device`, or for "auto" a CUDA device where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {device!r}: {reason}. Give 'auto', 'cpu', 'cuda' or 'cuda:1'.") from error
    return torch.device(device)


def device_name(device: torch.device) -> str:
    """What to call a device where a number is reported: a GPU by its model."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """`dtype`, or for "auto" the fastest format that the processor computes in and that is safe from
    overflow.

    bfloat16 on a GPU that has it (float16 on older ones) and on a CPU with AMX-BF16 or AVX512-BF16, where it
    is about three times faster than float32; float32 elsewhere, since emulated bfloat16 is slower still.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and BF16_FLAGS & cpu_flags() else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: choose 'auto' or one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def keep_freed_memory(*, blocks: int = 2**27, total: int = 2**28) -> bool:
    """Let this process keep freed blocks up to `blocks` bytes, `total` in all, for its next ones; whether it can.

    A forward pass frees and takes megabytes at every operation. glibc hands such blocks back to the kernel, which must
    clear the pages that it gives out instead, one fault each: 130,000 of them, a tenth of the time, in a batch of 16
    prompts. False for other C libraries, whose rules are their own.
    """
    set_to = _of_c_library("mallopt")
    return bool(set_to(M_MMAP_THRESHOLD, blocks) and set_to(M_TRIM_THRESHOLD, total))


def give_back_memory() -> bool:
    """Hand freed memory to the operating system, for work of another kind to come; whether there was any to hand.

    What lies free between blocks in use fits the next batch, but not always the next task. False for other C libraries
    than glibc.
    """
    return bool(_of_c_library("malloc_trim")(0))


def _of_c_library(name: str) -> Callable[..., int]:
    """The function of that name; where there is none, one that does nothing and returns 0."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # macOS and musl, another name, Windows
        return lambda *_: 0


def share_heads() -> None:
    """Let heads that share keys and values read them where they lie, instead of from a copy for each head.

    It takes 3 to 6 % less time. transformers does it without a mask only, since PyTorch cannot on a GPU with one; so
    where there is a GPU, or the environment says otherwise, nothing is changed.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault(FORCE_GQA, "1")


def cpu_flags() -> set[str]:
    """The processor's feature flags as Linux lists them; empty on other systems."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def pick_threads(watch_seconds: float = 0.2) -> int:
    """How many threads to compute with: what the environment says, else the idle cores, from 1 to 16.

    Cores are watched for `watch_seconds`, so work that starts later is not seen: set LALM_UTILS_THREADS=1
    where other jobs will share the machine.
    """
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        if chosen := os.environ.get(name):
            return _threads(name, chosen)
    usable = _usable_cores()
    idle = _idle_cores(usable, watch_seconds)
    return max(1, min(round(idle), int(_quota()), MAX_THREADS))


def _threads(name: str, chosen: str) -> int:
    if not chosen.isdigit() or int(chosen) < 1:
        raise ModelError(f"{name}={chosen}: the number of threads is a whole number from 1.")
    return int(chosen)


def _usable_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _idle_cores(usable: set[int], watch_seconds: float) -> float:
    """The sum over usable cores of the share of time each was idle; their number if that cannot be seen."""
    before = _idle_and_total()
    time.sleep(watch_seconds if before else 0)
    after = _idle_and_total()
    shares = [
        (after[core][0] - before[core][0]) / max(1, after[core][1] - before[core][1])
        for core in usable
        if core in before and core in after
    ]
    return sum(shares) if shares else float(len(usable))


def _idle_and_total() -> dict[int, tuple[int, int]]:
    """Ticks spent idle (or waiting for a disk) and in all since boot, by core; empty where unknown."""
    try:
        rows = [line.split() for line in STAT.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return {}
    ticks = {row[0].removeprefix("cpu"): [int(value) for value in row[1:9]] for row in rows}
    return {int(core): (t[3] + t[4], sum(t)) for core, t in ticks.items() if core.isdigit()}


def _quota() -> float:
    """The number of cores that a container may use (cgroup v2), at least 1; `MAX_THREADS` without a limit."""
    try:
        allowed, period = QUOTA.read_text().split()
        return max(1.0, float(allowed) / float(period))
    except (OSError, ValueError):  # "max" is no number
        return float(MAX_THREADS)
