from __future__ import annotations

import pytest

from lalm_utils.engine.batches import Failure, bisect_on_failure, is_out_of_memory


def test_results_keep_their_order_around_a_failure():
    def work(batch):
        if 3 in batch:
            raise ValueError("three")
        return [10 * number for number in batch]

    assert bisect_on_failure([1, 2, 3, 4], work) == [10, 20, Failure(error="ValueError: three"), 40]


def test_out_of_memory_halves_until_it_fits_and_says_what_fits():
    sizes, shrunk, recovered = [], [], []

    def work(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise MemoryError("full")
        return batch

    done = bisect_on_failure([*range(7)], work, shrink=shrunk.append, recover=lambda: recovered.append(1))
    assert done == [*range(7)]
    assert sizes == [7, 4, 2, 2, 3, 2, 1]
    assert shrunk == [4, 2, 2]
    assert len(recovered) == 3


def test_a_member_too_large_on_its_own_is_a_failure():
    def work(batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    (failure,) = bisect_on_failure([1], work)
    assert failure.error.startswith("RuntimeError: DefaultCPUAllocator")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_request_to_stop_passes_through(stop):
    def work(batch):
        raise stop

    with pytest.raises(stop):
        bisect_on_failure([1, 2], work)


@pytest.mark.parametrize(
    "error, expected",
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("a story about running out of memory"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected
