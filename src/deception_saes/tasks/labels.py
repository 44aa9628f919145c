"""Labels of completions by judge: a CSV that is checked row by row; balanced sets and
near-duplicates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from deception_saes.rng import generator
from deception_saes.store.files import write_atomic
from deception_saes.tasks.csv_rows import failure, quoted, read_rows

if TYPE_CHECKING:
    from deception_saes.tasks.completions import Completion

LABELS = ("honest", "deceptive", "ambiguous")
LABELS_FILE = Path(__file__).parent / "data" / "labels.csv"
LABEL_COLUMNS = ("completion", "judge", "label", "note")

_GRAM = 5  # characters
_NEAR = 0.8  # Jaccard overlap
_ROWS_AT_ONCE = 512


def load_labels(path: Path = LABELS_FILE) -> dict[str, dict[str, str]]:
    """By judge, the label of each completion id, in the file's order.

    Raises UserError with the row number (the header is row 1).
    """
    found: dict[str, dict[str, str]] = {}
    for completion, judge, label, _ in _rows(path):
        found.setdefault(judge, {})[completion] = label
    return found


def write_labels(path: Path, judge: str, labels: Mapping[str, str]) -> None:
    """Write one judge's labels into a labels file, in place of those it had there; the rows of
    other judges stay. The file is made if there is none.

    Raises UserError if the file is malformed, ValueError for what may not stand in one.
    """
    for completion, label in labels.items():
        if label not in LABELS or not completion or not judge:
            raise ValueError(f"label {label!r} of {completion!r} by {judge!r} may not stand in a "
                             f"labels file; expected one of {LABELS}, an id and a judge's name")
    others = [row for row in _rows(path) if row[1] != judge] if path.exists() else []
    new = [(completion, judge, label, "") for completion, label in labels.items()]
    write_atomic(path, quoted([LABEL_COLUMNS, *others, *new]))


def balanced(
    completions: Sequence[Completion], labels: Mapping[str, str], seed: int
) -> list[str]:
    """Ids of as many honest as deceptive completions of each scenario, in the order given: all of
    the rarer label, and of the other a choice that depends on the seed, the scenario and its ids.
    """
    of: dict[str, dict[str, list[str]]] = {}
    for completion in completions:
        label = labels.get(completion.id)
        if label in ("honest", "deceptive"):
            lists = of.setdefault(completion.scenario, {"honest": [], "deceptive": []})
            lists[label].append(completion.id)
    chosen: set[str] = set()
    for scenario, lists in of.items():
        fewest = min(map(len, lists.values()))
        for label, ids in lists.items():
            order = generator(seed, "balanced", scenario, label).permutation(len(ids))
            chosen.update(sorted(ids)[place] for place in order[:fewest])
    return [completion.id for completion in completions if completion.id in chosen]


def duplicate_groups(texts: Sequence[str]) -> np.ndarray:
    """Group of each text, int [N], numbered as they first appear; near-duplicates share one.

    Near are two texts that are equal but for case, punctuation and spacing, or whose sets of
    five-character pieces overlap by 0.8 or more (Jaccard); so are those that a chain of near ones
    links (single linkage).
    """
    n = len(texts)
    if n == 0:
        return np.zeros(0, dtype=np.int64)
    column: dict[str, int] = {}
    pieces = [[column.setdefault(piece, len(column)) for piece in sorted(_pieces(text))]
              for text in texts]
    size_N = np.array([len(of_text) for of_text in pieces])
    ends = np.concatenate([[0], size_N.cumsum()])
    has_NP = scipy.sparse.csr_array(
        (np.ones(ends[-1], dtype=np.int32), np.concatenate(pieces), ends), shape=(n, len(column)))
    near: list[np.ndarray] = []
    for start in range(0, n, _ROWS_AT_ONCE):
        shared_BN = (has_NP[start : start + _ROWS_AT_ONCE] @ has_NP.T).toarray()
        union_BN = size_N[start : start + _ROWS_AT_ONCE, None] + size_N - shared_BN
        row, other = np.nonzero(shared_BN >= _NEAR * union_BN)
        near.append(np.stack([row + start, other]))
    row, other = np.concatenate(near, axis=1)
    linked = scipy.sparse.coo_array((np.ones(len(row), dtype=bool), (row, other)), shape=(n, n))
    _, group_N = scipy.sparse.csgraph.connected_components(linked, directed=False)
    _, first, of_N = np.unique(group_N, return_index=True, return_inverse=True)
    numbered: np.ndarray = first.argsort().argsort()[of_N]
    return numbered


def _pieces(text: str) -> set[str]:
    plain = " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))
    plain = plain or text.strip()  # one without a letter is near to its like only
    return {plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1))}


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    fail = failure(path)
    seen: dict[tuple[str, str], int] = {}
    for number, cell in read_rows(path, LABEL_COLUMNS):
        completion, judge, label = (cell[name].strip() for name in LABEL_COLUMNS[:3])
        for name, value in (("completion", completion), ("judge", judge)):
            if not value:
                raise fail(number, f"the {name} is empty", "fill it in")
        if label not in LABELS:
            raise fail(number, f"the label is {label!r}",
                       f"expected one of {', '.join(LABELS)}")
        first = seen.setdefault((completion, judge), number)
        if first != number:
            raise fail(number, f"judge {judge!r} labelled {completion!r} in row {first} already",
                       "remove one of the two")
        yield completion, judge, label, cell["note"]
