import dataclasses
import json

import pytest

from deception_saes.paper.results import (
    Results,
    ResultsError,
    Value,
    read_results,
    write_results,
)

VALUE = Value("s23.m.f.effect", "effect Δ", 1.5, "pp", claim="S-07", ci_low=1.0, ci_high=2.0, n=50,
              model="m", framing="f", layer=3, tag="t", train_set="mixed", condition="E1Δ")
DONE = Results(23, "done", None, "smoke", 0, "abc", {"torch": "2"}, 1.5, [VALUE])
NOT_RUN = dataclasses.replace(DONE, status="not run", reason="no model", values=[])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "s23.json"


@pytest.mark.parametrize("results", [DONE, NOT_RUN], ids=["done", "not run"])
def test_what_is_written_is_read_back(path, results):
    write_results(results, path)
    assert read_results(path) == results


def test_what_is_not_finite_is_written_as_null(path):
    value = dataclasses.replace(VALUE, value=float("nan"), ci_low=float("-inf"),
                                ci_high=float("inf"))
    write_results(dataclasses.replace(DONE, values=[value]), path)
    read = read_results(path).values[0]
    assert (read.value, read.ci_low, read.ci_high) == (None, None, None)
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(("change", "named"), [
    ({"values": [VALUE, VALUE]}, r"s23\.m\.f\.effect"),
    ({"values": []}, r"\$\.values"),
    ({"reason": "why"}, r"\$\.reason"),
    ({"status": "not run", "values": []}, r"\$\.reason"),
    ({"status": "not run", "reason": "", "values": []}, r"\$\.reason"),
    ({"status": "not run", "reason": "why"}, r"\$\.values"),
    ({"status": "perhaps"}, r"\$\.status"),
    ({"section": 16}, r"\$\.section"),
    ({"seconds": -1.0}, r"\$\.seconds"),
    ({"values": [dataclasses.replace(VALUE, id="has space")]}, r"\$\.values\[0\]\.id"),
    ({"values": [dataclasses.replace(VALUE, claim="S-7")]}, r"\$\.values\[0\]\.claim"),
    ({"values": [dataclasses.replace(VALUE, n=-1)]}, r"\$\.values\[0\]\.n"),
])
def test_a_record_that_breaks_the_schema_is_not_written(path, change, named):
    with pytest.raises(ResultsError, match=named):
        write_results(dataclasses.replace(DONE, **change), path)
    assert not path.exists()


@pytest.mark.parametrize("change", [
    lambda record: record.update(extra=1),
    lambda record: record.pop("commit"),
    lambda record: record["values"][0].update(extra=1),
    lambda record: record["values"][0].pop("train_set"),
    lambda record: record["values"][0].update(value="1.5"),
])
def test_a_file_with_unknown_or_missing_fields_is_an_error_that_names_it(path, change):
    write_results(DONE, path)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match=r"s23\.json: .*results\.schema\.json"):
        read_results(path)


def test_a_truncated_file_is_an_error_that_names_it_and_the_remedy(path):
    write_results(DONE, path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ResultsError, match=r"s23\.json"):
        read_results(path)


def test_a_value_is_found_by_its_id():
    assert DONE.value("s23.m.f.effect") is VALUE


def test_an_unknown_id_is_an_error_that_names_a_near_one():
    with pytest.raises(KeyError, match=r"s23\.x\.effect.*s23\.m\.f\.effect"):
        DONE.value("s23.x.effect")
