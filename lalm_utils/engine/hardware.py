"""Which device, dtype and number of threads suit this machine, and two settings of memory and attention on a CPU.

The thread count matters more than anything else on a CPU: every operation ends in a barrier that waits for the slowest
thread, so one thread too many on a machine with other work makes small operations some 20 times slower (measured: 16 ms
instead of 0.7 ms for an elementwise one). Set LALM_UTILS_THREADS, or OMP_NUM_THREADS, where other jobs share the
machine.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch

from lalm_utils.models import ModelError

MAX_THREADS = 16  # a batch of short prompts does not feed more
CPUINFO, QUOTA = Path("/proc/cpuinfo"), Path("/sys/fs/cgroup/cpu.max")
CPU_DTYPE = "LALM_UTILS_CPU_DTYPE"  # of the environment: what "auto" is on a CPU
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


def processor_name(device: torch.device) -> str:
    """What a ratio of seconds was measured on: a GPU by its model; a CPU by its model (on Linux), whether it has AMX,
    which multiplies bfloat16 several times as fast, and the threads in use."""
    if device.type == "cuda":
        return device_name(device)
    amx = "with" if "amx_bf16" in cpu_flags() else "without"
    return f"{_cpuinfo('model name') or platform.processor() or 'CPU'} {amx} AMX, {torch.get_num_threads()} threads"


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """`dtype`, or for "auto" the fastest format that the processor computes in and that is safe from overflow.

    bfloat16 on a GPU that has it (float16 on older ones) and on a CPU with AMX-BF16 or AVX512-BF16, where it
    is about three times faster than float32; float32 elsewhere, since emulated bfloat16 is slower still. On a CPU the
    variable LALM_UTILS_CPU_DTYPE goes before.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto" and device.type == "cpu":
        dtype = os.environ.get(CPU_DTYPE) or dtype
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and BF16_FLAGS & cpu_flags() else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: choose 'auto' or one of {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def cpu_flags() -> set[str]:
    """The processor's feature flags as Linux lists them; empty on other systems."""
    return set(_cpuinfo("flags").split())


def _cpuinfo(name: str) -> str:
    """The first entry of that name in Linux's description of the processor; empty where there is none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def pick_threads() -> int:
    """How many threads to compute with: what the environment says, else the usable cores, from 1 to 16."""
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        if value := os.environ.get(name):
            if not value.isdigit() or int(value) < 1:
                raise ModelError(f"{name}={value}: the number of threads is a whole number from 1.")
            return int(value)
    return max(1, min(_usable_cores(), int(_quota()), MAX_THREADS))


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float:
    """The number of cores that a container may use (cgroup v2), at least 1; `MAX_THREADS` without a limit."""
    try:
        allowed, period = QUOTA.read_text().split()
        return max(1.0, float(allowed) / float(period))
    except (OSError, ValueError):  # "max" is no number
        return float(MAX_THREADS)


def keep_freed_memory(*, blocks: int = 2**27, total: int = 2**28) -> bool:
    """Let this process keep freed blocks up to `blocks` bytes, `total` in all, for its next ones; whether it can.

    12 % less time: a forward pass frees and takes megabytes at every operation. glibc hands such blocks back to the
    kernel, which must clear the pages that it gives out instead, one fault each: 130,000 of them in a batch of 16
    prompts. False for other C libraries, whose rules are their own.
    """
    mallopt = _c_function("mallopt")
    return bool(mallopt(M_MMAP_THRESHOLD, blocks) and mallopt(M_TRIM_THRESHOLD, total))


def trim_heap() -> bool:
    """Return freed memory to the operating system, for work of another kind to come; whether there was any.

    What lies free between blocks in use fits the next batch, but not always the next task. False for other C libraries
    than glibc.
    """
    return bool(_c_function("malloc_trim")(0))


def _c_function(name: str) -> Callable[..., int]:
    """The C library's function of that name; where there is none, one that does nothing and returns 0."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # macOS and musl, another name, Windows
        return lambda *_: 0


def share_heads() -> None:
    """Let heads that share keys and values read them where they lie, instead of from a copy for each head.

    Measured: 3.29 -> 3.21 s (one reply), 4.66 -> 4.37 s (four methods), 14.58 -> 14.11 s (five samples). transformers
    does it without a mask only, since PyTorch cannot on a GPU with one; so where there is a GPU, or the environment
    says otherwise, nothing is changed.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault(FORCE_GQA, "1")
