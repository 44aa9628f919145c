"""§23: P(correct) per question and framing, and the answerable set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from deception_saes.analysis.bootstrap import Interval
    from deception_saes.models.load import LanguageModel
    from deception_saes.models.spec import ModelSpec
    from deception_saes.sections.profiles import Profile
    from deception_saes.sections.results import Value
    from deception_saes.sections.run import Output, Work
    from deception_saes.tasks.framings import Condition
    from deception_saes.tasks.scoring import Score
    from deception_saes.tasks.trivia import Question

DATA = ("tasks/data/questions.csv",)
NEEDS = ()

MEASURES = {
    "p_correct": ("P(correct)", "probability"),
    "foil_measure": ("P(correct) / (P(correct) + P(foil))", "probability"),
    "p_string": ("full-string probability", "probability"),
    "logit": ("logit of P(correct)", "logits"),
}
SUBSETS = ("all", "answerable")


@dataclass(frozen=True)
class Params:
    """See `sections.profiles.Profile`; `missing`: reasons by slug of models not to be had."""

    models: tuple[ModelSpec, ...]
    missing: dict[str, str]
    framings: tuple[str, ...]
    primary_framings: tuple[str, ...]
    questions: int | None
    secondary_questions: int | None
    answerable_min_p: float
    bootstrap_draws: int
    batch_size: int
    device: str
    seed: int


def plan(
    profile: Profile, seed: int, models: tuple[ModelSpec, ...], missing: dict[str, str]
) -> Params:
    """The part of a profile that decides this section."""
    from deception_saes.sections.run import params_from

    return params_from(Params, profile, seed, models=models, missing=missing)


def compute(params: Params, work: Work) -> Output:
    """Ask every model every question under every framing and condition."""
    import pandas as pd

    from deception_saes.models.load import load
    from deception_saes.sections.run import Output

    models, questions, dropped = [], [], []
    for spec in params.models:
        lm = load(spec, work.artifacts, params.device)
        asked = ask(lm, params)
        questions.append(asked.questions)
        models.append({"model": spec.slug, "name": spec.name, "status": "done", "reason": None,
                       "framings_left_out": "; ".join(asked.left_out)})
        dropped += [{"model": spec.slug, "framing": framing, "question": question, "reason": why}
                    for (framing, question), why in asked.dropped.items()]
    for slug, reason in params.missing.items():
        models.append({"model": slug, "status": "not run", "reason": reason})
    table = pd.concat(questions, ignore_index=True)
    topics = pd.DataFrame(topic_rows(table, params))
    return Output(list(values(table, params)),
                  {"models": pd.DataFrame(models), "questions": table, "topics": topics,
                   "dropped": pd.DataFrame(dropped,
                                           columns=["model", "framing", "question", "reason"])})


@dataclass(frozen=True)
class Asked:
    """questions: one row a (framing, question); dropped: reasons by (framing, question id);
    left_out: framings this model has no template for."""

    questions: pd.DataFrame
    dropped: dict[tuple[str, str], str]
    left_out: list[str]


def ask(lm: LanguageModel, params: Params) -> Asked:
    """Scores of one model, the answerable questions marked and halved per framing."""
    import pandas as pd

    from deception_saes.tasks.framings import CONDITIONS, FRAMINGS
    from deception_saes.tasks.scoring import scorable, score
    from deception_saes.tasks.splits import answerable, halves
    from deception_saes.tasks.trivia import load_questions, spread

    rows: list[dict[str, object]] = []
    dropped: dict[tuple[str, str], str] = {}
    left_out: list[str] = []
    for framing in (FRAMINGS[name] for name in params.framings):
        if framing.chat and not lm.tokenizer.chat_template:
            left_out.append(f"{framing.name}: the tokenizer has no chat template")
            continue
        primary = framing.name in params.primary_framings
        count = params.questions if primary else params.secondary_questions
        kept, unscorable = scorable(spread(load_questions(), count), framing, lm.tokenizer)
        dropped |= {(framing.name, question): why for question, why in unscorable.items()}
        if not kept:
            why = next(iter(unscorable.values()))
            left_out.append(f"{framing.name}: none of {len(unscorable)} questions can be scored; "
                            f"the first: {why}")
            continue
        scores = {c: score(lm, framing, c, kept, params.batch_size) for c in CONDITIONS}
        half = halves(answerable(scores["genuine"], params.answerable_min_p), params.seed)
        rows += [_row(lm.spec.slug, framing.name, question, half.get(question.id),
                      {condition: scores[condition][i] for condition in CONDITIONS})
                 for i, question in enumerate(kept)]
    return Asked(pd.DataFrame(rows), dropped, left_out)


def _row(
    model: str, framing: str, question: Question, half: str | None, scores: dict[Condition, Score]
) -> dict[str, object]:
    from deception_saes.tasks.scoring import logit

    row: dict[str, object] = {
        "model": model, "framing": framing, "question": question.id, "topic": question.topic,
        "text": question.text, "answer": question.accepted[0], "foil": question.foil, "half": half,
    }
    for condition, s in scores.items():
        row |= {f"p_correct_{condition}": s.p_correct, f"p_foil_{condition}": s.p_foil,
                f"foil_measure_{condition}": s.foil_measure, f"p_string_{condition}": s.p_string,
                f"logit_{condition}": logit(s.p_correct), f"top_token_{condition}": s.top_token}
    return row


def values(questions: pd.DataFrame, params: Params) -> Iterator[Value]:
    """Every mean and every contrast against genuine, per model, framing, question set, measure."""
    from deception_saes.sections.results import Value

    for (model, framing), group in questions.groupby(["model", "framing"], sort=False):
        base = f"s23.{model}.{framing}"
        answerable = group["half"].notna()
        yield Value(f"{base}.n_answerable", "answerable questions", float(answerable.sum()),
                    "count", n=len(group), model=model, framing=framing, condition="genuine")
        for subset in SUBSETS:
            chosen = group if subset == "all" else group[answerable]
            if chosen.empty:
                continue
            for id, quantity, unit, condition, interval in _intervals(chosen, params):
                yield Value(f"{base}.{subset}.{id}", f"{quantity}, {subset} questions",
                            interval.mean, unit, ci_low=interval.low, ci_high=interval.high,
                            n=interval.n, model=model, framing=framing, condition=condition)


def _intervals(rows: pd.DataFrame, params: Params) -> Iterator[tuple[str, str, str, str, Interval]]:
    interval = _interval_of(params)
    for measure, (title, unit) in MEASURES.items():
        column = {c: rows[f"{measure}_{c}"] for c in ("genuine", "neutral", "sandbag")}
        for condition, values in column.items():
            yield f"{measure}.{condition}", title, unit, condition, interval(values)
        scale, contrast_unit = (100.0, "pp") if unit == "probability" else (1.0, unit)
        for condition in ("neutral", "sandbag"):
            contrast = scale * (column["genuine"] - column[condition])
            yield (f"{measure}.genuine_minus_{condition}", f"{title}, genuine − {condition}",
                   contrast_unit, condition, interval(contrast))
    fell = (rows["p_correct_sandbag"] < rows["p_correct_genuine"]) * 100.0
    yield ("share_lower.sandbag", "share of questions with P(correct) lower than under genuine",
           "percent", "sandbag", interval(fell))


def topic_rows(questions: pd.DataFrame, params: Params) -> Iterator[dict[str, object]]:
    """Mean P(correct) by topic, all questions, per model, framing and condition."""
    interval = _interval_of(params)
    for keys, group in questions.groupby(["model", "framing", "topic"], sort=False):
        for condition in ("genuine", "neutral", "sandbag"):
            found = interval(group[f"p_correct_{condition}"])
            yield {**dict(zip(("model", "framing", "topic"), keys, strict=True)),
                   "condition": condition, "p_correct": found.mean, "ci_low": found.low,
                   "ci_high": found.high, "n": found.n}


def _interval_of(params: Params) -> Callable[[pd.Series], Interval]:
    from deception_saes.analysis.bootstrap import mean_interval

    return lambda values: mean_interval(values, params.bootstrap_draws, params.seed)
