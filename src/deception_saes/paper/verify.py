"""`make verify`: a run beside the reference results, value by value."""

from __future__ import annotations

import sys
from collections import Counter

from deception_saes.paper.reference import (
    SHARE_OF_INTERVAL,
    SHARE_OF_VALUE,
    differences,
    read_reference,
    reference_file,
    write_reference,
)
from deception_saes.sections.catalogue import written_sections
from deception_saes.sections.profiles import Profile
from deception_saes.sections.results import Results, read_results
from deception_saes.sections.run import profile_tree, results_name

_MOST_SHOWN = 40


def verify(profile: Profile, seed: int, *, exact: bool, write: bool) -> int:
    """Print what the run in the profile's tree has otherwise than the reference; 1 if anything, or
    if a section has no results, else 0. write: make the run the reference instead.

    Raises NoReference.
    """
    results, lacking = _results(profile, seed)
    if lacking:
        print(f"no results of {', '.join(lacking)}: run `make book` first", file=sys.stderr)
        return 1
    if write:
        write_reference(results, reference_file(profile, seed))
        print(reference_file(profile, seed))
        return 0
    reference = read_reference(profile, seed)
    covered = {of.section for of in reference}
    if left := [f"§{of.section}" for of in results if of.values and of.section not in covered]:
        print(f"the reference has nothing of {', '.join(left)}; not compared")
    results = [of for of in results if of.section in covered]
    found = differences(reference, results, exact=exact)
    count = sum(len(of.values) for of in results)
    how = ("to the last bit" if exact else f"within {SHARE_OF_INTERVAL:.0%} of the interval's "
           f"width or {SHARE_OF_VALUE:.0%} of the value")
    if not found:
        print(f"{count} values of {len(results)} sections are as in the reference, {how}")
        return 0
    for difference in found[:_MOST_SHOWN]:
        print(difference)
    if len(found) > _MOST_SHOWN:
        print(f"… and {len(found) - _MOST_SHOWN} more")
    sections = Counter(difference.id.partition(".")[0] for difference in found)
    print(f"{len(found)} numbers differ ({how}): "
          + ", ".join(f"{name} {of}" for name, of in sorted(sections.items())))
    return 1


def _results(profile: Profile, seed: int) -> tuple[list[Results], list[str]]:
    """The records that are there, and the sections that have none."""
    tree = profile_tree(profile, seed)
    found, lacking = [], []
    for section in written_sections():
        path = tree / results_name(section)
        if path.is_file():
            found.append(read_results(path))
        else:
            lacking.append(f"§{section.number}")
    return found, lacking
