import dataclasses

import pytest
from matplotlib.figure import Figure

from deception_saes.paper.figures import PALETTES
from deception_saes.paper.findings import Finding, NotFound, draw, findings, side
from deception_saes.paper.numbers import HEADLINES, Numbers
from deception_saes.paper.profiles import profile_named
from deception_saes.paper.results import Results, Value

EMBEDDED = profile_named("embedded")


def value(section, rest, middle, low, high, unit="pp"):
    return Value(f"s{section}.smollm2it.{rest}", "q", middle, unit, ci_low=low, ci_high=high, n=9)


def results(section, *values):
    return Results(section, "done", None, "embedded", 0, "abc", {}, 1.0, list(values))


def sandbagging(low, high, alone=(0.5, 1.5)):
    ends = {"instruction.alone": alone, "instruction.last": alone}
    values = [value(23, f"factors.two_shot_labelled.{name}", sum(of) / 2, *of)
              for name in ("all.given", "all.none", "instruction.alone", "instruction.last",
                           "label.alone", "examples.alone")
              for of in (ends.get(name, (low, high)),)]
    return results(23, *values, value(23, "wordings.wrong.mean", 1, 0, 2))


def probing(low, high):
    return results(18, value(18, "R3.mean.nested.accuracy", 80, 70, 90, "percent"),
                   value(18, "words.accuracy", 75, 70, 80, "percent"),
                   value(18, "nested_minus_words.accuracy", (low + high) / 2, low, high))


def ablating(restored, gap, portion_gap, in_logits, p=(0.05, 0.05, 0.05), means=((1, 2), 0.05),
             relabelled=0.05):
    return (results(28, value(28, "effect.sandbag.zero", 19, *restored),
                    value(28, "p.layer_matched", p[0], None, None, "p"),
                    value(28, "beside.sharpened.p_correct", 25, 24, 26),
                    value(28, "random.layer_matched", 1, 0, 2),
                    value(28, "gap.layer_matched", 18, *gap)),
            results(29, value(29, "effect.genuine", 2, 1, 3), value(29, "portion", 17, 16, 18),
                    value(29, "portion.pp.random", 8, 7, 9),
                    value(29, "portion.pp.gap", 9, *portion_gap),
                    value(29, "portion.logits.gap", 1, *in_logits, "logits"),
                    *(value(29, f"portion.mean.{scale}.gap", 1, *means[0])
                      for scale in ("pp", "logits")),
                    *(value(29, f"portion.mean.{scale}.p", means[1], None, None, "p")
                      for scale in ("pp", "logits")),
                    value(29, "relabelled.pp.chosen", 28, 27, 29),
                    value(29, "relabelled.pp.random", 24, 23, 25),
                    value(29, "relabelled.pp.p", 0.05, None, None, "p"),
                    value(29, "relabelled.logits.p", relabelled, None, None, "p"),
                    value(29, "portion.pp.p", p[1], None, None, "p"),
                    value(29, "portion.logits.p", p[2], None, None, "p")),
            results(30, value(30, "instruction_alone.portion", 0, -1, 1),
                    value(30, "arms.instruction_alone.instruction_alone.portion", 2, 1, 3),
                    value(30, "instruction_alone.fall", 2, 1, 3)))


def swapping(**counts):
    """§24 with so many claimed gaps of each word, of six."""
    words = {word: counts.get(word, 0)
             for word in ("equivalent", "different", "inconclusive", "uninformative")}
    return results(24, *(
        dataclasses.replace(value(24, f"count.jumprelu.{word}", count, None, None, "of 6"), n=6)
        for word, count in words.items()),
        value(24, "headline.jumprelu", None if words["uninformative"] == 6 else 1.0, None, None),
        value(24, "headline.jumprelu.margin", 2.5, None, None),
        *(value(24, f"all.p_correct.{edit}", p, None, None, "percent")
          for edit, p in (("E6", 0.25), ("E4", 0.5))),
        value(24, "all.clean", 17.5, None, None, "percent"),
        *(value(24, f"count.jumprelu.{what}", 0, None, None, "of 3")
          for what in ("sae_adds", "specific.feature_specific", "specific.not_specific")),
        *(value(24, f"jumprelu.D{depth}.step.cosine", 0.9, None, None, "cosine")
          for depth in (4, 8, 12)),
        *(value(24, f"jumprelu.D{depth}.sandbag.gap.E6-{control}", 1, 0, 2)
          for depth in (4, 8, 12) for control in ("E4", "E1")))


def found(*of):
    return findings(Numbers(EMBEDDED, of))


@pytest.mark.parametrize(("low", "high", "where"), [
    (0.1, 2, "above"), (-2, -0.1, "below"), (-1, 1, "neither"), (0, 1, "neither"),
    (None, None, "neither"),
])
def test_a_value_is_on_the_side_of_its_whole_interval(low, high, where):
    assert side(value(1, "x", 1.0, low, high)) == where


@pytest.mark.parametrize(("low", "high", "alone", "words"), [
    (19, 21, (2.1, 4), "Told to answer wrongly, the model puts less on right answers"),
    (19, 21, (0.1, 1.9), "lowers P(correct), but hardly by its instruction"),
    (19, 21, (0.1, 9), "but its instruction alone is not shown to take a tenth"),
    (-1, 9, (2, 4), "is not shown to lower P(correct)"),
])
def test_told_to_is_said_of_the_instruction_alone(low, high, alone, words):
    assert words in found(sandbagging(low, high, alone))[0].sentence


@pytest.mark.parametrize(("counts", "words"), [
    ({"equivalent": 6}, "is unspecific, as the study reports"),
    ({"different": 1, "uninformative": 5}, "is not unspecific throughout"),
    ({"equivalent": 1, "uninformative": 5}, "is neither shown"),
    ({"uninformative": 6}, "cannot be judged here, since reconstruction alone"),
])
def test_a_swap_is_judged_where_its_saes_leave_the_answers(counts, words):
    (finding,) = (of for of in found(swapping(**counts)) if of.sections == (24,))
    assert f"honest prompts {words}" in finding.sentence
    assert "of 17.5 % P(correct) on sandbag prompts it leaves 0.2 %, the reversed one 0.5 %" in (
        finding.sentence)


@pytest.mark.parametrize(("low", "high", "words"), [
    (1, 9, "which is more than"), (-1, 9, "not shown to be more than"),
    (-9, -1, "which is less than"),
])
def test_a_probe_is_set_beside_the_words(low, high, words):
    assert words in found(probing(low, high))[1].sentence


@pytest.mark.parametrize(("intervals", "words"), [
    (((1, 2), (1, 2), (1, 2), (1, 2)), "more than random heads do, and not by disruption alone"),
    (((1, 2), (1, 2), (1, 2), (-1, 2), (0.05, 0.05, 0.05), ((1, 2), 0.1)),
     "is not shown to exceed what any disruption does"),
    (((1, 2), (1, 2), (1, 2), (-1, 2)), "alone is shown by mean ablation only"),
    (((1, 2), (1, 2), (1, 2), (1, 2), (0.05, 0.05, 0.05), ((1, 2), 0.05), 0.1),
     "that knowing which prompt is which finds heads of a larger portion is not shown"),
    (((1, 2), (1, 2), (1, 2), (1, 2), (0.05, 0.05, 0.05), ((-1, 2), 0.05)),
     "alone is shown by zero ablation only"),
    (((1, 2), (1, 2), (-1, 2), (1, 2), (0.05, 0.05, 0.05), ((-1, 2), 0.05)),
     "is not shown to exceed what any disruption does"),
    (((1, 2), (-1, 2), (1, 2), (1, 2)), "is not shown to restore more than random heads do"),
    (((-1, 2), (1, 2), (1, 2), (1, 2)), "is not shown to restore answers"),
    (((1, 2), (1, 2), (1, 2), (1, 2), (0.1, 0.05, 0.05)),
     "is not shown to restore more than random heads do"),
    (((1, 2), (1, 2), (1, 2), (1, 2), (0.05, 0.05, 0.1), ((1, 2), 0.1)),
     "is not shown to exceed what any disruption does"),
])
def test_a_portion_is_the_heads_own_beyond_that_of_random_ones(intervals, words):
    sentence = found(*ablating(*intervals))[4].sentence
    assert words in sentence
    assert "Where the instruction alone differs, which lowers P(correct) by 2.0 pp" in sentence


def test_what_was_not_run_is_said():
    assert found()[4].sentence == ("Not run: §28 circuit ablation, §29 neutral prompts, "
                                   "§30 across models.")
    assert all(isinstance(finding, NotFound) for finding in found())


def test_a_figure_shows_its_rows_and_its_words_say_them():
    finding = found(sandbagging(5, 9))[0]
    assert isinstance(finding, Finding)
    figure = Figure()
    draw(figure, PALETTES["light"], finding)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        row.label for row in finding.rows]
    assert len(finding.rows) == 7
    for row in finding.rows:
        assert f"{row.label} {row.value.value:.1f} pp [{row.value.ci_low:.1f}" in finding.alt


def test_a_value_that_is_not_there_is_an_error():
    numbers = Numbers(EMBEDDED, [results(23)])
    with pytest.raises(KeyError, match="x"):
        numbers(23, "x")
    with pytest.raises(KeyError, match="§24"):
        numbers(24, "x")


def test_a_section_that_was_not_run_has_no_headline():
    of = dataclasses.replace(results(24), status="not run", reason="gated")
    assert not Numbers(EMBEDDED, [of]).was_run(24)


def test_every_headline_is_a_value_of_a_real_run(asked_in_smoke, smoke):
    numbers = Numbers(smoke, [asked_in_smoke.results])
    of_section = [headline for headline in HEADLINES if headline.section == 23]
    assert of_section
    for headline in of_section:
        assert numbers(23, headline.rest).unit == "pp"
