"""`make verify`: a run beside the reference results, value by value."""

from __future__ import annotations

import sys
from collections import Counter

from deception_saes.paper.catalogue import SECTIONS
from deception_saes.paper.made import made, origin
from deception_saes.paper.profiles import Profile
from deception_saes.paper.record import profile_tree, results_name
from deception_saes.paper.reference import (
    SHARE_OF_INTERVAL,
    SHARE_OF_VALUE,
    Origin,
    differences,
    not_covered,
    origin_file,
    read_origin,
    read_reference,
    reference_file,
    write_origin,
    write_reference,
)
from deception_saes.paper.results import Results, read_results
from deception_saes.store.files import edited_shipped
from deception_saes.store.pinned import INSTRUCTION_SET

_MOST_SHOWN = 40


def verify(profile: Profile, seed: int, *, exact: bool, write: bool) -> int:
    """Print what the run in the profile's tree has otherwise than the reference; 1 if anything, or
    if a section has no results, else 0. write: make the run the reference instead, of the sections
    that have results.

    Models, activations and SAEs are compared to the last bit, values within the tolerance; exact:
    values to the last bit too, as two runs on one machine have them.
    Raises NoReference.
    """
    results, lacking = _results(profile, seed)
    if lacking:
        print(f"no results of {', '.join(lacking)}: " + (
            "the reference is made without" if write and results else "run `make book` first"),
            file=sys.stderr)
    if lacking and not (write and results):
        return 1
    units = made(profile, seed, profile_tree(profile, seed))
    if write:
        made_by = origin(profile, seed, results, units)  # before a file of the checkout changes
        write_reference(results, reference_file(profile, seed))
        write_origin(made_by, origin_file(profile, seed))
        print(reference_file(profile, seed))
        return 0
    reference, theirs = read_reference(profile, seed), read_origin(profile, seed)
    if changed := edited_shipped():
        print(f"not as shipped: {', '.join(changed)}")
    same_files = theirs is None or _compare_files(theirs, origin(profile, seed, results, units))
    if left := not_covered(reference, results):
        print(f"the reference has nothing of {', '.join(left)}; not compared")
    covered = {of.section for of in reference}
    results = [of for of in results if of.section in covered]
    found = differences(reference, results, exact=exact)
    count = sum(len(of.values) for of in results)
    how = ("to the last bit" if exact else f"within {SHARE_OF_INTERVAL:.0%} of the interval's "
           f"width, {SHARE_OF_VALUE:.0%} of the value or float32's rounding")
    if not found:
        print(f"{count} values of {len(results)} sections are as in the reference, {how}")
        return 0 if same_files else 1
    for difference in found[:_MOST_SHOWN]:
        print(difference)
    if len(found) > _MOST_SHOWN:
        print(f"… and {len(found) - _MOST_SHOWN} more")
    sections = Counter(difference.id.partition(".")[0] for difference in found)
    print(f"{len(found)} numbers differ ({how}): "
          + ", ".join(f"{name} {of}" for name, of in sorted(sections.items())))
    return 1


def _compare_files(theirs: Origin, here: Origin) -> bool:
    """Print where both were made and how activations and SAEs compare; whether they are as
    promised: to the last bit, where that is promised."""
    print(f"reference: commit {theirs.commit}, {theirs.processor}\n"
          f"this run:  commit {here.commit}, {here.processor}")
    differing = sorted(name for name in theirs.files.keys() | here.files.keys()
                       if theirs.files.get(name) != here.files.get(name))
    what = f"{len(theirs.files)} files of models, activations and SAEs"
    if not differing:
        print(f"{what}: as in the reference, to the last bit")
        return True
    shown = ", ".join(differing[:3]) + ", …" * (len(differing) > 3)
    if here.why_not_promised:
        promise = f"equal bits are not promised here: {here.why_not_promised}"
    elif theirs.why_not_promised:
        promise = f"equal bits are not promised of the reference: {theirs.why_not_promised}"
    else:
        promise = f"equal bits are promised here ({INSTRUCTION_SET})"
    print(f"{what}: {len(differing)} differ ({shown}); {promise}")
    return bool(here.why_not_promised or theirs.why_not_promised)


def _results(profile: Profile, seed: int) -> tuple[list[Results], list[str]]:
    """The records that are there, and the sections that have none."""
    tree = profile_tree(profile, seed)
    found, lacking = [], []
    for section in SECTIONS.values():
        path = tree / results_name(section)
        if path.is_file():
            found.append(read_results(path))
        else:
            lacking.append(f"§{section.number}")
    return found, lacking
