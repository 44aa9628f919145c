import pytest

from deception_saes.paper.numbers import number, with_interval
from deception_saes.paper.results import Value


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.12345, "probability", "0.123"), (-0.04, "pp", "−0.0 pp"), (41.26, "percent", "41.3 %"),
    (7.0, "count", "7"), (-1.234, "logits", "−1.23 logits"), (1.234, "ratio", "1.23"),
    (7.0, "of 9", "7 of 9"), (7.0, "layer", "L7"), (0.61234, "auroc", "0.612"),
    (None, "probability", "–"),
])
def test_numbers_have_the_decimals_of_their_unit(value, unit, text):
    assert number(Value("s23.x", "q", value, unit)) == text


def test_a_value_without_an_interval_stands_alone():
    assert with_interval(Value("s23.x", "q", 7.0, "count", ci_low=1.0)) == "7"
