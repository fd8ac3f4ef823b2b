"""Arrays that return their memory to the next ones."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from storage.redstuff import RedStuff, memory
from storage.redstuff.memory import HUGE_PAGE, slack_array, uninitialised

SIZE = 5 * HUGE_PAGE + 17
pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="no huge pages to ask for here")


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    memory._kept.clear()


def address(array: memory.Bytes) -> int:
    return int(array.ctypes.data)


def test_memory_comes_back_when_the_last_view_is_gone() -> None:
    first = uninitialised(SIZE)
    where, view = address(first), first[100:200].data
    del first
    assert address(uninitialised(SIZE)) != where
    del view
    assert any(address(one) == where for one in [uninitialised(SIZE), uninitialised(SIZE)])


def test_arrays_in_use_share_no_memory() -> None:
    def fill(number: int) -> bool:
        arrays = [slack_array(SIZE) for _ in range(3)]
        for place, array in enumerate(arrays):
            array[:] = 3 * number + place
        return all((array == 3 * number + place).all() for place, array in enumerate(arrays))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(24)))


def test_a_small_array_gets_no_large_region() -> None:
    large = uninitialised(10 * SIZE)
    where = address(large)
    del large
    small = uninitialised(SIZE)
    assert not where <= address(small) < where + 10 * SIZE


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "KEPT_BYTES", 4 * SIZE)
    arrays = [uninitialised(SIZE) for _ in range(10)]
    del arrays
    assert 0 < sum(map(len, memory._kept)) <= 4 * SIZE


def test_an_encoding_in_used_memory_is_the_same() -> None:
    code, data = RedStuff(10), np.random.default_rng(1).bytes(1 << 20)
    expected = code.encode(data)
    used = slack_array(expected.primary.size)
    used[:] = 0xAA
    del used
    again = code.encode(data)
    assert again.blob_id == expected.blob_id
    assert np.array_equal(again.primary, expected.primary)
    assert np.array_equal(again.secondary, expected.secondary)
