"""Every judge's labels of the completions that §17 is about: shipped ones, and those of the
embedded judges, which read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from deception_saes.sections.behaviour import DATA, MAIN_ROUND, BehaviourParams

if TYPE_CHECKING:
    from pathlib import Path

    from deception_saes.sections.run import Work
    from deception_saes.tasks.judges.embedded import Judgement

SECOND = "claude-2"
"""The second, independent pass of the reader."""
STUDY_JUDGES = ("gpt-4o-mini-batch", "gemini-2.5-flash-single")
"""The hosted judges of the study."""
_READS = {"single": "individually", "batch": "batch"}


PER_PROMPT = 8
"""Completions that the embedded batch judge is given at once."""
JUDGED_DRAWS = 16
"""The embedded judges read the first so many draws of each scenario in the main round, for time."""


def embedded_judges(of: BehaviourParams) -> tuple[str, str]:
    """Names of the judges that are the model itself: individual, then batch."""
    return f"{of.model.slug}-single", f"{of.model.slug}-batch"


def short_name(of: BehaviourParams, judge: str) -> str:
    """The judge's name in ids of values: an embedded one is called after how it reads."""
    return {name: name.rpartition("-")[2] for name in embedded_judges(of)}.get(
        judge, "-".join(judge.split()))


def by_judge(of: BehaviourParams, work: Work) -> dict[str, dict[str, str]]:
    """Label by completion id of every judge: the primary one, the second pass, the embedded ones
    on a part of the main round, then whoever else stands in the file of labels."""
    from deception_saes.sections.behaviour import completions
    from deception_saes.tasks.labels import load_labels

    ids = {c.id for c in completions(of)}
    shipped = {judge: {id: label for id, label in given.items() if id in ids}
               for judge, given in load_labels().items()}
    first = {judge: shipped.get(judge, {}) for judge in (of.judge, SECOND)}
    found = {**first, **_read_here(of, work)}
    return found | {judge: given for judge, given in shipped.items() if judge not in found}


def judge_rows(
    of: BehaviourParams, labels: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, object]]:
    """What every judge is, how it reads, how much it labelled; those of the study that were not
    asked, with the reason."""
    from deception_saes.models.registry import get

    shipped = "labels in tasks/data/labels.csv"
    for judge, given in labels.items():
        what, reads = shipped, _READS.get(judge.rpartition("-")[2], "–")
        if judge in embedded_judges(of):
            what = f"{get(of.model.slug).name}, in this run"
        elif judge in (of.judge, SECOND):
            what = "the language model Claude" + (", second pass" if judge == SECOND else "")
            reads = _READS["single"]
        yield {"judge": judge, "what": what, "reads": reads, "labelled": len(given),
               "state": "done" if given else f"not run: no {shipped}"}
    for judge in STUDY_JUDGES:
        if judge not in labels:
            yield {"judge": judge, "what": "a hosted model, as in the study",
                   "reads": _READS[judge.rpartition("-")[2]], "labelled": 0,
                   "state": f"not run: it needs a key; no {shipped}"}


def _read_here(of: BehaviourParams, work: Work) -> dict[str, dict[str, str]]:
    """Labels of the main round by the embedded judges, kept in the profile's tree."""
    from deception_saes.models.load import weights_hash
    from deception_saes.store.ensure import ensure
    from deception_saes.store.files import PACKAGE_DIR
    from deception_saes.store.spec import Spec
    from deception_saes.tasks.labels import load_labels, write_labels

    unit = f"judged-{of.model.slug}-{MAIN_ROUND}"
    run_by = ("model", "sampled_by", "completions_per_scenario", "scenarios", "batch_size",
              "device", "threads")
    given = {"per_prompt": PER_PROMPT, "draws": JUDGED_DRAWS}
    spec = Spec(unit, given | {name: getattr(of, name) for name in run_by},
                sources=(__name__,),
                data=tuple(PACKAGE_DIR / name for name in DATA[:2]),
                inputs=weights_hash(of.model))
    name = f"sections/{unit}.csv"

    def make(out: Path) -> None:
        for judge, judgements in _judgements(of, work):
            write_labels(out / name, judge, {found.completion: found.label
                                             for found in judgements})

    ensure(work.tree, spec, make)
    return load_labels(work.tree / name)


def _judgements(of: BehaviourParams, work: Work) -> Iterator[tuple[str, list[Judgement]]]:
    import torch

    from deception_saes.models.load import load
    from deception_saes.sections.behaviour import completions
    from deception_saes.tasks.judges.embedded import judge_batch, judge_single
    from deception_saes.tasks.scenarios import load_scenarios

    torch.set_num_threads(of.threads)
    lm = load(of.model, work.artifacts, of.device)
    single, batch = embedded_judges(of)
    read = [c for c in completions(of, MAIN_ROUND) if c.draw < JUDGED_DRAWS]
    yield single, judge_single(lm, load_scenarios(), read, of.batch_size)
    yield batch, judge_batch(lm, load_scenarios(), read, PER_PROMPT)
