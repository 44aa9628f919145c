"""The status page: what was run, when and by what, and what another seed and the fuller profile
give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.front_page import ClaimRow, anchor, claim_rows, section_number
from deception_saes.paper.made import Made, computed_by
from deception_saes.paper.model_text import in_markdown
from deception_saes.paper.numbers import HEADLINES, Numbers, with_interval
from deception_saes.paper.profiles import PROFILES, Profile
from deception_saes.paper.record import profile_tree, results_name
from deception_saes.paper.reference import (
    not_covered,
    read_origin,
    read_reference,
    seeds_with_reference,
    with_numbers_of,
)
from deception_saes.paper.results import Results, read_results
from deception_saes.paper.shared import seed_trees
from deception_saes.paper.specs import results_spec
from deception_saes.store.files import edited_shipped
from deception_saes.store.pinned import INSTRUCTION_SET


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A sortable table. Cells are Markdown: pass texts through `in_markdown`."""
    lines = ["{.sortable}", f"| {' | '.join(head)} |", "|---" * len(head) + "|",
             *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def sections_table(profile: Profile, results: Sequence[Results], tree: Path) -> str:
    """MyST: a line for every section. tree: the profile's, whose files say when."""
    lines = []
    for of in results:
        section = SECTIONS[of.section]
        finished = (tree / results_name(section)).stat().st_mtime
        models = sorted({value.model for value in of.values if value.model})
        lines.append((
            f"[§{section.number} {section.title}](../notebooks/{section.stem}.ipynb)",
            in_markdown(of.status + (f": {of.reason}" if of.reason else "")),
            in_markdown(", ".join(models) or "–"), f"{of.seconds:.0f}",
            f"{profile.seconds.get(section.number, 0):.0f}",
            datetime.fromtimestamp(finished, UTC).strftime("%Y-%m-%d %H:%M"), f"`{of.commit}`"))
    return _table(("Section", "State", "Models", "Seconds", "Budget, s", "Finished, UTC", "Commit"),
                  lines)


def versions_table(results: Sequence[Results]) -> str:
    """MyST: versions that decided results; several where sections were run with several."""
    found: dict[str, set[str]] = {}
    for of in results:
        for library, version in of.versions.items():
            found.setdefault(library, set()).add(version)
    return _table(("Library", "Version"), [
        (in_markdown(name), in_markdown(", ".join(sorted(found[name])))) for name in sorted(found)])


def not_run_list(results: Sequence[Results]) -> str:
    """MyST: every section that was not run, and why."""
    lines = [f"- [§{of.section} {SECTIONS[of.section].title}]"
             f"(../notebooks/{SECTIONS[of.section].stem}.ipynb): {in_markdown(of.reason or '')}"
             for of in results if of.status != "done"]
    return "\n".join(lines or ["Every section of this build was run."]) + "\n"


def machines_table(units: Sequence[Made]) -> str:
    """MyST: what was made on which processor and instruction set, and what is promised of it."""
    counted = Counter((unit.pinned, unit.processor, unit.instruction_set, unit.why_not_promised)
                      for unit in units if unit.instruction_set)
    lines = []
    for (pinned, processor, used, why), count in sorted(counted.items(), key=repr, reverse=True):
        what = "models, activations, SAEs" if pinned else "everything else"
        if not pinned:
            promise = "equal within the tolerance of `make verify`"
        elif why:
            promise = f"nothing: {in_markdown(why)}"
        else:
            promise = f"equal bits on every Intel processor with {INSTRUCTION_SET}"
        lines.append((f"{what} ({count})", in_markdown(processor), str(used), promise))
    return _table(("Made", "Processor", "Instruction set", "Promised"), lines)


def data_note() -> str:
    """MyST: shipped data that was edited, if any."""
    changed = ", ".join(f"`{name}`" for name in edited_shipped())
    return (f"Not as shipped: {changed}. Numbers here are of the edited data.\n" if changed
            else "All data files are as they were shipped.\n")


def seeds_table(
    profile: Profile, by_seed: Mapping[int, Sequence[Results]],
    other_code: Collection[tuple[int, int]] = (),
) -> str:
    """MyST: each headline number under every seed that has been run, and how far it moves.

    What one seed's tree lacks reads "not measured" there. Where seeds counted different
    numbers of questions, each says its own. other_code: seed and section of results that other
    code computed; they say so, and no range is taken over them.
    """
    numbers = {seed: Numbers(profile, results) for seed, results in by_seed.items()}
    lines = []
    for headline in HEADLINES:
        values = [of.find(headline.section, headline.rest) for of in numbers.values()]
        counts = len({value.n for value in values if value is not None})
        marks = [" (other code)" if (seed, headline.section) in other_code else ""
                 for seed in numbers]
        shown = ["not measured" if value is None
                 else in_markdown(with_interval(value) + (f", n = {value.n}" if counts > 1 else ""))
                 + mark for value, mark in zip(values, marks, strict=True)]
        found = [value.value for value, mark in zip(values, marks, strict=True)
                 if value is not None and value.value is not None and not mark]
        spread = f"{max(found) - min(found):.3g}" if len(found) > 1 else "–"
        lines.append((f"§{headline.section} {in_markdown(headline.title)}", *shown, spread))
    return _table(("Number", *(f"Seed {seed}" for seed in numbers), "Range"), lines)


def other_seeds(profile: Profile, seed: int, artifacts: Path) -> dict[int, list[Path]]:
    """Results files that lie in `artifacts` of the profile's seeds other than `seed`, by seed."""
    found = {other: sorted((tree / "results").glob("s[0-9][0-9].json"))
             for other, tree in sorted(seed_trees(profile, artifacts).items()) if other != seed}
    return {other: files for other, files in found.items() if files}


def computed_by_other_code(
    profile: Profile, seeds: Collection[int], run_here: Collection[int], artifacts: Path
) -> set[tuple[int, int]]:
    """Seed and section of results that code, data or libraries other than the present ones have
    computed, or that do not say what did. run_here: seeds whose results lie in `artifacts`; of the
    others the references are asked."""
    found = set()
    for seed in seeds:
        of_reference = None if seed in run_here else read_origin(profile, seed)
        specs = of_reference.specs if of_reference else {}
        for section in SECTIONS.values():
            spec = results_spec(section, profile, seed)
            tree = profile_tree(profile, seed, artifacts)
            made = computed_by(tree, section) if seed in run_here else {specs.get(section.key)}
            if spec.hash not in made:
                found.add((seed, section.number))
    return found


def results_by_seed(
    profile: Profile, seed: int, results: Sequence[Results],
    others: Mapping[int, Sequence[Path]],
) -> dict[int, Sequence[Results]]:
    """This run's results, those of the other seeds that were run here, and the references of
    seeds that were not, by seed."""
    found: dict[int, Sequence[Results]] = {
        other: read_reference(profile, other) for other in seeds_with_reference(profile)}
    found |= {other: [read_results(path) for path in paths] for other, paths in others.items()}
    found[seed] = results
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Fuller:
    """What the profile with more of everything gives."""

    profile: Profile
    results: Sequence[Results]
    """None at all if it was never run."""
    run_here: bool
    """Whether they lie in the artifacts; else they are the reference's."""
    other_code: Collection[int]
    """Sections whose results code other than the present one computed."""


def fuller(profile: Profile, seed: int, artifacts: Path) -> Fuller | None:
    """Results of the profile that `profile` names as the fuller one: a whole run of it that lies in
    `artifacts`, or else the reference that comes with the code; None if it names none."""
    if profile.fuller is None:
        return None
    of = PROFILES[profile.fuller]
    here = fuller_files(profile, seed, artifacts)
    if here:
        results = [read_results(path) for path in here]
    else:
        results = read_reference(of, seed) if seed in seeds_with_reference(of) else []
    other = computed_by_other_code(of, [seed] if results else [], [seed] if here else [], artifacts)
    return Fuller(of, results, bool(here), {section for _, section in other})


def fuller_files(profile: Profile, seed: int, artifacts: Path) -> list[Path]:
    """Results files of a whole run of the fuller profile in `artifacts`, if there is one."""
    if profile.fuller is None:
        return []
    tree = profile_tree(PROFILES[profile.fuller], seed, artifacts)
    files = [tree / results_name(section) for section in SECTIONS.values()]
    return files if all(path.is_file() for path in files) else []


def fuller_note(profile: Profile, results: Sequence[Results], found: Fuller | None) -> str:
    """MyST: every claim's value and verdict beside those of the fuller profile.

    results: of this build.
    """
    if found is None:
        return f"There is no fuller profile than {profile.name} on the same models.\n"
    name = found.profile.name
    if not found.results:
        return (f"Not run: no results of the profile {name} with this seed come with this code; "
                f"`make book PROFILE={name}` makes them.\n")
    whence = "run here" if found.run_here else "the reference that comes with the code"
    if left := not_covered(found.results, results):
        whence += f", which has nothing of {', '.join(left)}"
    rows = claim_rows(profile, results)
    theirs = claim_rows(found.profile, with_numbers_of(found.results, results))
    pairs = [pair for pair in zip(rows, theirs, strict=True) if pair[0].value is not None]
    return (f"Profile `{name}`: {whence}.\n\n"
            + _table(("Claim", "What was measured", profile.name, name, "Verdicts"),
                     [_beside(*pair, found.other_code) for pair in pairs]))


def other_runs(
    seed: int, by_seed: Mapping[int, Sequence[Results]], fuller: Fuller | None
) -> dict[str, Sequence[Results]]:
    """By name, the results that exploratory claims are judged by too: of the other seeds and of
    the fuller profile. seed: of this build."""
    runs = {f"seed {other}": of for other, of in by_seed.items() if other != seed}
    if fuller is not None and fuller.results:
        runs[fuller.profile.name] = fuller.results
    return runs


def _beside(row: ClaimRow, fuller: ClaimRow, other_code: Collection[int]) -> tuple[str, ...]:
    here, there = row.verdict.word, fuller.verdict.word
    assert row.value is not None
    is_marked = fuller.value is not None and section_number(row.claim) in other_code
    # in HTML, since MyST finds no link from another page to what stands in a table
    return (f'<a href="index.html#{anchor(row.claim)}">{row.claim.id}</a>',
            in_markdown(row.value.quantity), _shown(row),
            _shown(fuller) + " (other code)" * is_marked,
            here if here == there or fuller.value is None else f"{here} → {there}")


def _shown(row: ClaimRow) -> str:
    if row.value is None:
        return "not run"
    count = "" if row.value.n is None else f", n = {row.value.n}"
    return in_markdown(with_interval(row.value) + count)
