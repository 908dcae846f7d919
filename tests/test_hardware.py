from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers.integrations.sdpa_attention import use_gqa_in_sdpa

from lalm_utils.engine import hardware
from lalm_utils.models import ModelError

CPU = torch.device("cpu")
FLAGS = [
    ("AVX512-BF16", "flags\t\t: fpu avx512f avx512_bf16 amx_int8", torch.bfloat16),
    ("AMX", "processor : 0\nflags : fpu amx_bf16 amx_tile", torch.bfloat16),
    ("AVX512 without bfloat16", "flags : fpu avx512f avx512bw", torch.float32),
    ("an ARM processor", "Features : fp asimd", torch.float32),
]


@pytest.mark.parametrize("case, cpuinfo, dtype", FLAGS, ids=[row[0] for row in FLAGS])
def test_bfloat16_is_computed_in_only_where_the_processor_has_it(tmp_path, monkeypatch, case, cpuinfo, dtype):
    monkeypatch.delenv(hardware.CPU_DTYPE, raising=False)
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert hardware.pick_dtype("auto", CPU) is dtype, case


def test_an_explicit_dtype_is_taken(tmp_path, monkeypatch):
    monkeypatch.delenv(hardware.CPU_DTYPE, raising=False)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "no such file")
    assert hardware.pick_dtype("auto", CPU) is torch.float32
    assert hardware.pick_dtype("bfloat16", CPU) is torch.bfloat16
    assert hardware.pick_dtype(torch.float16, CPU) is torch.float16


def test_the_environment_says_what_auto_is_on_a_cpu_alone(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags : avx512f avx512_bf16")
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv(hardware.CPU_DTYPE, "float32")
    assert hardware.pick_dtype("auto", CPU) is torch.float32
    assert hardware.pick_dtype("bfloat16", CPU) is torch.bfloat16
    monkeypatch.setenv(hardware.CPU_DTYPE, "int3")
    with pytest.raises(ModelError, match="dtype 'int3': choose"):
        hardware.pick_dtype("auto", CPU)


CORES = [
    ("two cores", 2, "max 100000", 2),
    ("a container with a quota of one core", 4, "100000 100000", 1),
    ("a container with half a core", 2, "50000 100000", 1),
    ("a large server", 64, "max 100000", hardware.MAX_THREADS),
    ("no quota to read", 3, None, 3),
]


@pytest.mark.parametrize("case, cores, quota, threads", CORES, ids=[row[0] for row in CORES])
def test_threads_are_the_usable_cores_within_the_quota(tmp_path, monkeypatch, case, cores, quota, threads):
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(hardware, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(hardware, "_usable_cores", lambda: cores)
    assert hardware.pick_threads() == threads, case


def test_the_environment_overrides_the_count(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("LALM_UTILS_THREADS", raising=False)
    assert hardware.pick_threads() == 3
    monkeypatch.setenv("LALM_UTILS_THREADS", "5")
    assert hardware.pick_threads() == 5
    monkeypatch.setenv("LALM_UTILS_THREADS", "all")
    with pytest.raises(
        ModelError, match="LALM_UTILS_THREADS=all: the number of threads is a whole number from 1"
    ):
        hardware.pick_threads()


TAKEN_AGAIN = """
import resource, sys
import torch
from lalm_utils.engine.hardware import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("skip")
faults = []
for _ in range(16):  # glibc settles on where it puts them in the first few
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(10_000_000).add_(1)  # 40 MB: glibc's own rule never keeps as much
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[12:]))
"""


def test_a_freed_block_is_taken_again_without_new_pages():
    faults = {}
    for case in ("given back", "kept"):
        run = subprocess.run([sys.executable, "-c", TAKEN_AGAIN, case], capture_output=True, text=True)
        if "skip" in run.stderr:
            pytest.skip("the C library is not glibc")
        assert run.returncode == 0, run.stderr
        faults[case] = int(run.stdout)
    assert faults["kept"] < 100
    assert faults["given back"] > 10 * faults["kept"]  # a page may be 4 kB or 2 MB


@pytest.mark.parametrize(
    ("case", "gpu", "before", "after"),
    [
        ("a CPU alone", False, None, "1"),
        ("a GPU, on which a mask would take the slowest way", True, None, None),
        ("the user's own choice", False, "0", "0"),
    ],
)
def test_heads_share_their_keys_on_a_cpu(monkeypatch, case, gpu, before, after):
    monkeypatch.setattr(os, "environ", {} if before is None else {hardware.FORCE_GQA: before})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    hardware.share_heads()
    assert os.environ.get(hardware.FORCE_GQA) == after
    # the name is transformers' own, which may change; it has reasons of its own to share on a Mac
    assert use_gqa_in_sdpa(torch.ones(2, 2), *torch.ones(2, 1, 1, 1, 8)) or after != "1"


TRIMMED = """
from pathlib import Path
import torch
from lalm_utils.engine.hardware import trim_heap, keep_freed_memory

def resident():  # pages
    return int(Path("/proc/self/statm").read_text().split()[1])

kept = keep_freed_memory(total=2**30)
blocks = [torch.ones(250_000) for _ in range(400)]  # 1 MB each, every second one stays
del blocks[::2]
before = resident()
print(kept, trim_heap(), before - resident())
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell what is resident")
def test_free_memory_between_blocks_in_use_is_given_back():
    run = subprocess.run([sys.executable, "-c", TRIMMED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    n_kept, n_returned, pages = run.stdout.split()
    if n_kept == "False":
        pytest.skip("the C library is not glibc")
    assert n_returned == "True"
    assert int(pages) * os.sysconf("SC_PAGE_SIZE") > 150e6  # of 200


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_that_share_keys_attend_as_with_a_copy_for_each(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 40, 16, dtype=dtype) for heads in (6, 2, 2))
    attend, mask = torch.nn.functional.scaled_dot_product_attention, torch.ones(40, 40).tril().bool()
    copied = attend(query, *(x.repeat_interleave(3, 1) for x in (key, value)), attn_mask=mask)
    assert torch.equal(attend(query, key, value, attn_mask=mask, enable_gqa=True), copied)
