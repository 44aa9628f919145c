"""The status page: what was run, when and by what, and what another seed gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from deception_saes.paper.headlines import HEADLINES, Numbers
from deception_saes.paper.reference import read_reference, seeds_with_reference
from deception_saes.paper.tables import cell, markdown_table
from deception_saes.sections.catalogue import SECTIONS
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import Results, read_results
from deception_saes.sections.run import results_name


def sections_table(profile: Profile, results: Sequence[Results], tree: Path) -> str:
    """MyST: a line for every section. tree: the profile's, whose files say when."""
    lines = []
    for of in results:
        section = SECTIONS[of.section]
        finished = (tree / results_name(section)).stat().st_mtime
        models = sorted({value.model for value in of.values if value.model})
        lines.append((
            f"[§{section.number} {section.title}](../notebooks/{section.stem}.ipynb)",
            cell(of.status + (f": {of.reason}" if of.reason else "")),
            cell(", ".join(models) or "–"), f"{of.seconds:.0f}",
            f"{profile.seconds.get(section.number, 0):.0f}",
            datetime.fromtimestamp(finished, UTC).strftime("%Y-%m-%d %H:%M"), f"`{of.commit}`"))
    return markdown_table(("Section", "State", "Models", "Seconds", "Budget, s", "Finished, UTC",
                           "Commit"), lines)


def versions_table(results: Sequence[Results]) -> str:
    """MyST: versions that decided results; several where sections were run with several."""
    found: dict[str, set[str]] = {}
    for of in results:
        for library, version in of.versions.items():
            found.setdefault(library, set()).add(version)
    return markdown_table(("Library", "Version"), [
        (cell(name), cell(", ".join(sorted(found[name])))) for name in sorted(found)])


def not_run_list(results: Sequence[Results]) -> str:
    """MyST: every section that was not run, and why."""
    lines = [f"- [§{of.section} {SECTIONS[of.section].title}]"
             f"(../notebooks/{SECTIONS[of.section].stem}.ipynb): {cell(of.reason or '')}"
             for of in results if of.status != "done"]
    return "\n".join(lines or ["Every section of this build was run."]) + "\n"


def seeds_table(profile: Profile, by_seed: Mapping[int, Sequence[Results]]) -> str:
    """MyST: each headline number under every seed that has been run, and how far it moves.

    A section that one seed's tree lacks reads "not run" there. Where seeds counted different
    numbers of questions, each says its own.
    """
    from deception_saes.paper.page import with_interval  # draws figures: slow to import

    numbers = {seed: Numbers(profile, results) for seed, results in by_seed.items()}
    lines = []
    for headline in HEADLINES:
        values = [of(headline.section, headline.rest) if of.was_run(headline.section) else None
                  for of in numbers.values()]
        counts = len({value.n for value in values if value is not None})
        shown = ["not run" if value is None
                 else cell(with_interval(value) + (f", n = {value.n}" if counts > 1 else ""))
                 for value in values]
        found = [value.value for value in values if value is not None and value.value is not None]
        spread = f"{max(found) - min(found):.3g}" if len(found) > 1 else "–"
        lines.append((f"§{headline.section} {cell(headline.title)}", *shown, spread))
    return markdown_table(("Number", *(f"Seed {seed}" for seed in numbers), "Range"), lines)


def other_seeds(profile: Profile, seed: int, artifacts: Path) -> dict[int, list[Path]]:
    """Results files that lie in `artifacts` of the profile's seeds other than `seed`, by seed."""
    trees = {profile.seed: artifacts / profile.name}
    for tree in artifacts.glob(f"{profile.name}-seed*"):
        number = tree.name.removeprefix(f"{profile.name}-seed")
        if number.isdigit():
            trees[int(number)] = tree
    found = {other: sorted((tree / "results").glob("s*.json"))
             for other, tree in sorted(trees.items()) if other != seed}
    return {other: files for other, files in found.items() if files}


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
