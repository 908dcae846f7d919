from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

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
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "cpuinfo")
    assert hardware.pick_dtype("auto", CPU) is dtype, case


def test_an_explicit_dtype_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "CPUINFO", tmp_path / "no such file")
    assert hardware.pick_dtype("auto", CPU) is torch.float32
    assert hardware.pick_dtype("bfloat16", CPU) is torch.bfloat16
    assert hardware.pick_dtype(torch.float16, CPU) is torch.float16


def ticks(*idle_shares: float) -> str:
    """/proc/stat after 100 ticks a core, of which the given share was idle."""
    lines = [f"cpu{i} {100 - 100 * s:.0f} 0 0 {100 * s:.0f} 0 0 0 0 0 0" for i, s in enumerate(idle_shares)]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *lines, "intr 1 2 3"])


NOTHING = ticks(*[0] * 64).replace("100 0 0 0", "0 0 0 0")
CORES = [
    ("an idle machine", (1.0, 1.0), "max 100000", 2),
    ("another job on one of two cores", (1.0, 0.0), "max 100000", 1),
    ("another job on every core", (0.0, 0.0), "max 100000", 1),
    ("a little noise", (0.97, 0.93), "max 100000", 2),
    ("a container with a quota of one core", (1.0, 1.0, 1.0, 1.0), "100000 100000", 1),
    ("a container with half a core", (1.0, 1.0), "50000 100000", 1),
    ("a large server", (1.0,) * 64, "max 100000", hardware.MAX_THREADS),
    ("a large server, mostly busy", (1.0,) * 3 + (0.0,) * 61, "max 100000", 3),
]


@pytest.mark.parametrize("case, idle, quota, threads", CORES, ids=[row[0] for row in CORES])
def test_threads_are_as_many_as_cores_are_idle(tmp_path, monkeypatch, case, idle, quota, threads):
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    stat = tmp_path / "stat"
    stat.write_text(NOTHING)
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(hardware, "STAT", stat)
    monkeypatch.setattr(hardware, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(hardware, "_usable_cores", lambda: set(range(len(idle))))
    monkeypatch.setattr(hardware.time, "sleep", lambda seconds: stat.write_text(ticks(*idle)))
    assert hardware.pick_threads() == threads, case


def test_without_proc_all_usable_cores_are_taken(tmp_path, monkeypatch):
    for name in ("LALM_UTILS_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hardware, "STAT", tmp_path / "none")
    monkeypatch.setattr(hardware, "QUOTA", tmp_path / "none")
    monkeypatch.setattr(hardware, "_usable_cores", lambda: {0, 1, 2})
    assert hardware.pick_threads() == 3


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


def test_defaults_are_set_where_nothing_is_set_and_there_is_no_gpu(monkeypatch):
    for name in hardware.DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    hardware.set_defaults()
    assert not set(hardware.DEFAULTS) & set(os.environ)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    hardware.set_defaults()
    assert {name: os.environ[name] for name in hardware.DEFAULTS} == {
        **hardware.DEFAULTS,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "7",
    }


MADE_AGAIN = """
import sys
import torch
from lalm_utils.engine.hardware import set_defaults

if sys.argv[1] == "few":
    set_defaults()
kernel = torch.ones(32, 32, 3)
for _ in range(2):
    print("round", flush=True)
    for length in range(200, 400):
        torch.nn.functional.conv1d(torch.ones(4, 32, length), kernel)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of PyTorch has no oneDNN")
@pytest.mark.parametrize("case", ["many", "few"])
def test_onednn_keeps_no_kernel_for_each_shape_there_ever_was(case):
    """The variable reaches it though PyTorch has been imported."""
    without = {name: value for name, value in os.environ.items() if name not in hardware.DEFAULTS}
    run = subprocess.run(
        [sys.executable, "-c", MADE_AGAIN, case],
        capture_output=True,
        text=True,
        env={**without, "ONEDNN_VERBOSE": "profile_create"},
    )
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.split("round\n")[1:]
    assert first.count("cache_miss,cpu,convolution") == 200
    assert second.count("cache_miss,cpu,convolution") == (200 if case == "few" else 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_that_share_keys_attend_as_with_a_copy_for_each(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 40, 16, dtype=dtype) for heads in (6, 2, 2))
    attend, mask = torch.nn.functional.scaled_dot_product_attention, torch.ones(40, 40).tril().bool()
    copied = attend(query, *(x.repeat_interleave(3, 1) for x in (key, value)), attn_mask=mask)
    assert torch.equal(attend(query, key, value, attn_mask=mask, enable_gqa=True), copied)
