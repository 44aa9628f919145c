"""The model that reads completions as their judge, and all judges there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from deception_saes.cache import cached
from deception_saes.experiments.reading import SCENARIO_DATA, Reading
from deception_saes.experiments.task import Subject
from deception_saes.tasks.completions import Completion
from deception_saes.tasks.judges.embedded import Judgement, judge_batch, judge_single
from deception_saes.tasks.labels import load_labels
from deception_saes.tasks.scenarios import load_scenarios
from deception_saes.tidy import described

Labels = Mapping[str, Mapping[str, str]]
"""By judge, the label of each completion id."""

_READS = {"single": "individually", "batch": "batch"}
_SHIPPED = "labels in tasks/data/labels.csv"


@cached(data=SCENARIO_DATA)
def judged_singly(subject: Subject, completions: tuple[Completion, ...]) -> pd.DataFrame:
    """The subject judges one completion at a time: id and label of each."""
    return _table(judge_single(subject.load(), load_scenarios(), completions))


@cached(data=SCENARIO_DATA)
def judged_in_batches(
    subject: Subject, completions: tuple[Completion, ...], *, per_prompt: int
) -> pd.DataFrame:
    """The subject judges so many completions of a scenario at once: id and label of each."""
    return _table(judge_batch(subject.load(), load_scenarios(), completions, per_prompt))


def _table(found: Sequence[Judgement]) -> pd.DataFrame:
    return pd.DataFrame([(of.completion, of.label) for of in found], columns=["id", "label"])


def all_labels(
    reading: Reading, own: Mapping[str, pd.DataFrame], *, second: str
) -> dict[str, dict[str, str]]:
    """By judge, the label of each completion of the reading: of the reading's judge, of the second
    pass, of the model itself, then of whoever else stands in the file of labels.

    own: what the model judged here, by how it reads.
    """
    ids = {completion.id for completion in reading.completions}
    shipped = {judge: {id: label for id, label in given.items() if id in ids}
               for judge, given in load_labels().items()}
    found = {judge: shipped.get(judge, {}) for judge in (reading.judge, second)}
    found |= {name: dict(zip(own[how]["id"], own[how]["label"], strict=True))
              for name, how in own_names(reading, own).items()}
    return found | {judge: given for judge, given in shipped.items() if judge not in found}


def own_names(reading: Reading, own: Iterable[str]) -> dict[str, str]:
    """Names of the judges that are the model itself, each with how it reads."""
    return {f"{reading.model}-{how}": how for how in own}


def short_names(reading: Reading, own: Iterable[str], labels: Labels) -> dict[str, str]:
    """Judges as ids of values name them: the model itself is called after how it reads."""
    here = own_names(reading, own)
    return {judge: here.get(judge, "-".join(judge.split())) for judge in labels}


def judge_table(
    reading: Reading, own: Iterable[str], labels: Labels, *, second: str, hosted: Sequence[str]
) -> pd.DataFrame:
    """What every judge is, how it reads, how much it labelled; those of `hosted` models that were
    not asked, with the reason."""
    here, rows = own_names(reading, own), []
    for judge, given in labels.items():
        what, reads = _SHIPPED, _READS.get(judge.rpartition("-")[2], "–")
        if judge in here:
            what = f"{reading.subject.model.name}, in this run"
        elif judge.startswith("claude-"):
            what = "the language model Claude" + (", second pass" if judge == second else "")
            reads = _READS["single"]
        rows.append({"judge": judge, "what": what, "reads": reads, "labelled": len(given),
                     "state": "done" if given else f"not run: no {_SHIPPED}"})
    rows += [{"judge": judge, "what": "a hosted model, as in the study",
              "reads": _READS[judge.rpartition("-")[2]], "labelled": 0,
              "state": f"not run: it needs a key; no {_SHIPPED}"}
             for judge in hosted if judge not in labels]
    return described(
        pd.DataFrame(rows), "a judge a row", what=("", "what it is"),
        reads=("", "one completion at a time (individually) or several (batch); – if that is not "
                   "known"),
        labelled=("count", "completions it labelled"),
        state=("", "done, or why it was not run"))
