"""Bootstrap by item: strata keep their size, ratios are those of the drawn items."""

from __future__ import annotations

import numpy as np
import pytest

from lalm_utils import draws

STRATA = ["sound"] * 3 + ["music"] * 2


def test_every_stratum_keeps_its_number_of_items_in_every_resample():
    drawn = draws.weights(STRATA, n_boot=200, seed=1)
    assert drawn.shape == (200, 5)
    assert set(drawn[:, :3].sum(1)) == {3}
    assert set(drawn[:, 3:].sum(1)) == {2}
    assert len({tuple(row) for row in drawn}) > 10


def test_each_item_is_drawn_once_on_average():
    drawn = draws.weights(["sound"] * 20, n_boot=4000, seed=0)
    assert np.allclose(drawn.mean(0), 1, atol=0.1)


def test_a_stratum_is_drawn_the_same_whatever_is_beside_it():
    together, alone = draws.weights(STRATA, n_boot=50), draws.weights(["sound"] * 3, n_boot=50)
    assert np.array_equal(together[:, :3], alone)
    assert not np.array_equal(draws.weights(STRATA, n_boot=50, seed=9), together)


def test_no_items_cannot_be_resampled():
    with pytest.raises(ValueError, match=r"^no items to resample: check for none before$"):
        draws.weights([])


def test_a_ratio_is_that_of_the_sums_over_the_items_drawn():
    top, bottom = np.array([1, 0, 3]), np.array([2, 4, 3])
    value, resampled = draws.ratio(top, bottom, np.array([[1, 1, 1], [3, 0, 0], [0, 2, 1]]))
    assert value == pytest.approx(4 / 9)
    assert resampled == pytest.approx([4 / 9, 1 / 2, 3 / 11])


def test_a_ratio_over_nothing_is_undefined_not_zero():
    value, resampled = draws.ratio(np.array([0.0, 1.0]), np.array([0, 1]), np.array([[2, 0], [1, 1]]))
    assert value == 1
    assert np.isnan(resampled[0])
    assert resampled[1] == 1
    assert np.isnan(draws.ratio(np.zeros(2), np.zeros(2), np.ones((1, 2)))[0])
