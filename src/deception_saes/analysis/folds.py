"""How completions of several prompts are held out from the probes that tell them apart.

Labels vary within one prompt. So every scenario is spread over all folds, near-duplicates stay in
one, and honest and deceptive completions of a scenario weigh the same in training: what only tells
scenarios apart then tells nothing about labels.

Shape suffixes: N completions, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deception_saes.rng import generator

N_FOLDS = 5


@dataclass(frozen=True)
class Design:
    """The completions that a probe tells apart, and in which fold each is held out. Numbers are int
    from 0."""

    deceptive_N: np.ndarray
    """bool."""
    scenario_N: np.ndarray
    group_N: np.ndarray
    """Near-duplicates share a group."""
    fold_N: np.ndarray
    scenarios: tuple[str, ...]
    """Names, by number."""

    @property
    def cell_N(self) -> np.ndarray:
        """Scenario and fold as one number: scores within a cell are of one probe and one prompt,
        so that they can be ranked."""
        cell_N: np.ndarray = self.scenario_N * (self.fold_N.max() + 1) + self.fold_N
        return cell_N


def design(
    deceptive: Sequence[bool] | np.ndarray,
    scenario: Sequence[str],
    group: Sequence[int] | np.ndarray,
    seed: int,
    n_folds: int = N_FOLDS,
) -> Design:
    """Deals groups of near-duplicates into folds, each scenario's labels as evenly as can be.

    deceptive, scenario, group: of each completion. The largest groups are dealt first, each into
    the fold where it disturbs the balance of its scenario least, in an order drawn from the seed.
    Raises ValueError if the lists differ in length, or if a label has fewer groups than there are
    folds.
    """
    deceptive_N = np.asarray(deceptive, dtype=bool)
    group_N = np.unique(group, return_inverse=True)[1]
    names, scenario_N = np.unique(np.asarray(scenario, dtype=object), return_inverse=True)
    if not len(deceptive_N) == len(scenario_N) == len(group_N):
        raise ValueError(f"{len(deceptive_N)} labels, {len(scenario_N)} scenarios and "
                         f"{len(group_N)} groups; expected one of each a completion")
    for word, of_label in (("honest", ~deceptive_N), ("deceptive", deceptive_N)):
        groups = len(np.unique(group_N[of_label]))
        if groups < n_folds:
            raise ValueError(f"{groups} {word} completions, near-duplicates counted once; "
                             f"{n_folds} folds need at least {n_folds}")
    random = generator(seed, "folds", str(len(deceptive_N)))
    order = sorted(random.permutation(group_N.max() + 1).tolist(),
                   key=lambda g: -np.count_nonzero(group_N == g))
    dealt = np.zeros((n_folds, len(names), 2), dtype=int)  # by fold, scenario, label
    ties = random.random((len(order), n_folds))
    fold_N = np.empty(len(deceptive_N), dtype=int)
    for turn, g in enumerate(order):
        members = np.flatnonzero(group_N == g)
        added = np.zeros(dealt.shape[1:], dtype=int)
        np.add.at(added, (scenario_N[members], deceptive_N[members].astype(int)), 1)
        cost = _imbalance(dealt + added) - _imbalance(dealt)
        fold = np.lexsort((ties[turn], dealt.sum(axis=(1, 2)), cost))[0]
        dealt[fold] += added
        fold_N[members] = fold
    return Design(deceptive_N, scenario_N, group_N, fold_N, tuple(str(name) for name in names))


def _imbalance(dealt: np.ndarray) -> np.ndarray:
    """[folds]: grows when a scenario's label piles up in a fold, or stands there without the
    other, with which it could be compared."""
    gap = dealt[..., 1] - dealt[..., 0]
    cost: np.ndarray = (dealt**2).sum(axis=(1, 2)) + (gap**2).sum(axis=1)
    return cost


def subset(of: Design, rows: np.ndarray) -> Design:
    """The design of these completions alone, each still in its fold."""
    return replace(of, **{name: getattr(of, name)[rows] for name in (
        "deceptive_N", "scenario_N", "group_N", "fold_N")})


def splits(of: Design, part_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices to train on and to test on, for each part in turn.

    part_N: `of.fold_N`, or `of.scenario_N` to leave one scenario out. What is a near-duplicate of
    a completion tested on is not trained on, in whatever part it stands.
    """
    for part in np.unique(part_N):
        tested = part_N == part
        near = np.isin(of.group_N, of.group_N[tested])
        yield np.flatnonzero(~tested & ~near), np.flatnonzero(tested)


def training_weights(of: Design, rows: np.ndarray) -> np.ndarray:
    """Weights of these completions under which both labels of every scenario count the same, [n];
    0 where a scenario has one label only, which is then no contrast."""
    weights = np.zeros(len(rows))
    deceptive, scenario = of.deceptive_N[rows], of.scenario_N[rows]
    for s in np.unique(scenario):
        counts = [np.count_nonzero((scenario == s) & (deceptive == label)) for label in (0, 1)]
        if all(counts):
            for label, count in enumerate(counts):
                weights[(scenario == s) & (deceptive == label)] = sum(counts) / (2 * count)
    return weights


def permuted_labels(of: Design, draws: int, seed: int) -> np.ndarray:
    """Labels as they could be if they told nothing, bool [P, N].

    The unit is the group of near-duplicates: groups of one label exchange it within their
    scenario, whatever their size; one of both labels exchanges them among its own; one that spans
    scenarios keeps them.
    """
    random = generator(seed, "permuted labels", str(len(of.deceptive_N)))
    drawn_PN = np.repeat(of.deceptive_N[None], draws, axis=0)
    exchanged: dict[int, list[np.ndarray]] = {}
    for g in range(of.group_N.max() + 1):
        members = np.flatnonzero(of.group_N == g)
        if len(np.unique(of.scenario_N[members])) > 1:
            continue
        if len(np.unique(of.deceptive_N[members])) == 1:
            exchanged.setdefault(int(of.scenario_N[members[0]]), []).append(members)
        else:
            drawn_PN[:, members] = random.permuted(drawn_PN[:, members], axis=1)
    for groups in exchanged.values():
        label_PG = np.repeat(of.deceptive_N[[members[0] for members in groups]][None], draws, 0)
        label_PG = random.permuted(label_PG, axis=1)
        for members, label_P in zip(groups, label_PG.T, strict=True):
            drawn_PN[:, members] = label_P[:, None]
    return drawn_PN


def resampled_weights(of: Design, draws: int, seed: int) -> np.ndarray:
    """How often each completion is in each bootstrap resample, float32 [draws, N].

    Groups of near-duplicates are drawn with replacement, from among those of the same scenarios
    and labels, whose numbers the balancing has fixed.
    """
    random = generator(seed, "bootstrap of completions", str(len(of.deceptive_N)))
    members = [np.flatnonzero(of.group_N == g) for g in range(of.group_N.max() + 1)]
    strata: dict[tuple[tuple[int, bool], ...], list[int]] = {}
    for g, rows in enumerate(members):
        kind = sorted({(int(of.scenario_N[row]), bool(of.deceptive_N[row])) for row in rows})
        strata.setdefault(tuple(kind), []).append(g)
    times_RG = np.zeros((draws, len(members)), dtype=np.float32)
    for groups in strata.values():
        times_RG[:, groups] = random.multinomial(
            len(groups), np.full(len(groups), 1 / len(groups)), size=draws)
    return times_RG[:, of.group_N]
