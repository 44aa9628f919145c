import numpy as np
import pytest

from deception_saes.analysis.saturation import saturation

COUNTS = (1, 2, 5, 10, 64)


@pytest.mark.parametrize(("accuracy", "components"), [
    ([0.5, 0.6, 0.7, 0.7, 0.7], 5),
    ([0.5, 0.6, 0.69, 0.7, 0.7], 5),  # exactly 95% of the gain
    ([0.5, 0.6, 0.689, 0.7, 0.7], 10),
    ([0.5, 0.6, 0.65, 0.66, 0.7], 64),
    ([0.8, 0.6, 0.65, 0.66, 0.7], 1),  # fewer may be better than all
    ([0.4, 0.3, 0.3, 0.3, 0.4], 1),
    ([0.39, 0.3, 0.3, 0.3, 0.4], 64),
])
def test_saturation_is_the_first_number_with_95_percent_of_the_gain(accuracy, components):
    assert saturation(COUNTS, np.array(accuracy)) == components


def test_resamples_are_saturated_each_for_itself():
    drawn = np.array([[0.5, 0.6, 0.7, 0.7, 0.7], [0.5, 0.6, 0.6, 0.6, 0.7]])
    assert saturation(COUNTS, drawn).tolist() == [5, 64]


@pytest.mark.parametrize("counts", [(1, 2), (2, 1, 5, 10, 64)])
def test_counts_that_do_not_fit_are_an_error(counts):
    with pytest.raises(ValueError, match="ascending"):
        saturation(counts, np.full(5, 0.5))
