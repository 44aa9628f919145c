"""Linear probes on completions, always scored on completions that they were not fitted to.

A probe is a scikit-learn pipeline, so whatever it learns (scaling, components, vocabulary,
weights) it learns from the training folds alone. Its strength of regularisation is fixed. Beside it
stands its ridge counterpart, which is cheap enough for many permuted labellings: what probes find
in labels that tell nothing, and how wide an interval should be.

Shape suffixes: N completions, D features, L layers, P permutations, R resamples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np
import scipy
import sklearn
import threadpoolctl

from deception_saes.analysis.folds import (
    Design,
    resampled_weights,
    splits,
    subset,
    training_weights,
)
from deception_saes.analysis.probe_scores import balanced_accuracies, measure

C = 1.0
"""Inverse strength of the L2 penalty, on standardised activations and lengths and on tf-idf rows
of norm 1 alike: scikit-learn's default, fixed before any data was seen and not tuned."""

Prepare = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Makes features of what is trained and of what is tested on, fitted on the former alone."""

_WORD = r"(?u)\b\w+\b"
_WIDENING_DRAWS = 300


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix libraries on one thread meanwhile: on matrices this small a second one costs several
    times more than it does, and one gives the same last bits on any number of cores."""
    _ = sklearn.linear_model  # loads it: only what is loaded can be limited
    with threadpoolctl.threadpool_limits(limits=1):
        yield


def activation_probe(c: float = C, components: int | None = None) -> Any:
    """Scaling, then principal components if a number of them is given, then logistic regression."""
    reduction = ([] if components is None else
                 [sklearn.decomposition.PCA(components, svd_solver="full")])
    return sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), *reduction,
                                          _logistic(c))


def word_probe(c: float = C) -> Any:
    """Tf-idf of words and pairs of words, then logistic regression."""
    return sklearn.pipeline.make_pipeline(vectoriser(), _logistic(c))


def words_of_scenario(texts: Sequence[str] | np.ndarray, of: Design) -> np.ndarray:
    """Texts in which every word stands once more, marked by its scenario, strings [N].

    A word may be a lie in one scenario and the truth in another, and activations know which
    prompt they stand behind. From these texts `word_probe` learns what a word means everywhere and
    what it means in each scenario (Daumé 2007, ACL, 256-263).
    """
    word = re.compile(_WORD)
    marked = [" ".join([text, *(f"s{s}_{found}" for found in word.findall(text))])
              for text, s in zip(texts, of.scenario_N, strict=True)]
    return np.array(marked, dtype=object)


def vectoriser() -> Any:
    """Tf-idf of words and pairs of words, rows of norm 1; one-letter words count."""
    return sklearn.feature_extraction.text.TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD)


def lengths(texts: Sequence[str], n_tokens: np.ndarray) -> np.ndarray:
    """Logarithms of the numbers of tokens and of characters, [N, 2]: what a probe that knows a
    completion's length alone is given."""
    counts_N2 = np.column_stack([n_tokens, [len(text) for text in texts]]).astype(float)
    return np.asarray(np.log1p(counts_N2))


def held_out_scores(
    make: Callable[[], Any], x: np.ndarray, of: Design, part_N: np.ndarray | None = None
) -> np.ndarray:
    """Logit of "deceptive" of every completion, by a probe that saw neither it, nor its
    near-duplicates, nor any other of its part, [N].

    make: an unfitted pipeline that ends in logistic regression. x: what it takes, one row a
    completion. part_N: fold by default; `of.scenario_N` leaves one scenario out.
    """
    x = np.asarray(x)
    scores_N = np.full(len(of.deceptive_N), np.nan)
    for train, test in splits(of, of.fold_N if part_N is None else part_N):
        scores_N[test] = _fitted(make, x, of, train).decision_function(x[test])
    return scores_N


def layer_scores(
    x_LND: np.ndarray, of: Design, part_N: np.ndarray | None = None, c: float = C
) -> np.ndarray:
    """Held-out logits of a probe at every layer, [L, N]."""
    return np.stack([held_out_scores(lambda: activation_probe(c), x_ND, of, part_N)
                     for x_ND in x_LND])


def nested_layers(x_LND: np.ndarray, of: Design) -> np.ndarray:
    """For every fold the layer that is best without it, [folds].

    The layer of highest balanced accuracy where each of the other folds is held out in turn from
    probes on the rest of them. A probe without folds i and j serves both: i's choice scores it on
    j, j's on i.
    """
    folds = np.unique(of.fold_N)
    inner = {fold: np.full((len(x_LND), len(of.fold_N)), np.nan) for fold in folds}
    for i, j in combinations(folds, 2):
        either = np.isin(of.fold_N, (i, j))
        train = np.flatnonzero(~either & ~np.isin(of.group_N, of.group_N[either]))
        for layer, x_ND in enumerate(x_LND):
            probe = _fitted(activation_probe, x_ND, of, train)
            for outer, held in ((i, j), (j, i)):
                rows = of.fold_N == held
                inner[outer][layer, rows] = probe.decision_function(x_ND[rows])
    chosen = []
    for fold in folds:
        rows = of.fold_N != fold
        chosen.append(int(measure(inner[fold][:, rows], subset(of, rows)).peak))
    return np.array(chosen)


def by_fold(scores_LN: np.ndarray, of: Design, layer_F: np.ndarray) -> np.ndarray:
    """The scores that each fold's own layer gives its completions, [N]."""
    picked: np.ndarray = scores_LN[_layer_of_each(of, layer_F), np.arange(len(of.fold_N))]
    return picked


def at_layers(
    score: Callable[[np.ndarray], np.ndarray], x_LND: np.ndarray, of: Design, layer_F: np.ndarray
) -> np.ndarray:
    """The same of what `score` makes of a layer's activations [N, D], [..., N]."""
    layer_N = _layer_of_each(of, layer_F)
    found = {layer: score(x_LND[layer]) for layer in np.unique(layer_N)}
    return np.stack([found[layer][..., n] for n, layer in enumerate(layer_N)], axis=-1)


def _layer_of_each(of: Design, layer_F: np.ndarray) -> np.ndarray:
    return np.asarray(layer_F)[np.searchsorted(np.unique(of.fold_N), of.fold_N)]


def _fitted(make: Callable[[], Any], x: np.ndarray, of: Design, train: np.ndarray) -> Any:
    probe = make()
    last = probe.steps[-1][0]
    return probe.fit(x[train], of.deceptive_N[train],
                     **{f"{last}__sample_weight": training_weights(of, train)})


def _logistic(c: float) -> Any:
    return sklearn.linear_model.LogisticRegression(C=c, max_iter=5000, tol=1e-6)


# Their ridge counterparts


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates less their training mean, over their training SD."""
    mean_D, sd_D = train.mean(axis=0), train.std(axis=0)
    scale_D = np.where(sd_D > 0, sd_D, 1.0)
    return (train - mean_D) / scale_D, (test - mean_D) / scale_D


def principal(components: int) -> Prepare:
    """So many principal components of the standardised coordinates."""

    def prepare(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        train_ND, test_ND = standardised(train, test)
        pca = sklearn.decomposition.PCA(components, svd_solver="full")
        return pca.fit_transform(train_ND), pca.transform(test_ND)

    return prepare


def word_weights(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tf-idf of words and pairs of words of texts, less the training mean."""
    words = vectoriser()
    train_ND = words.fit_transform(train).toarray()
    mean_D = train_ND.mean(axis=0)
    return train_ND - mean_D, words.transform(test).toarray() - mean_D


def ridge_scores(
    x: np.ndarray, of: Design, labels_PN: np.ndarray, prepare: Prepare = standardised, c: float = C
) -> np.ndarray:
    """Held-out scores of ridge regressions on many labellings of the same completions, [P, N].

    Labels are ±1, their mean in each scenario of the training folds taken off. In its dual form
    (Saunders, Gammerman and Vovk 1998, ICML) one kernel matrix a fold serves all labellings.
    The penalty 4 / c makes it the Gaussian counterpart of the logistic probe: a logit is twice a
    score, and the curvature of the logistic loss at 0 is 1/4.
    """
    scores_PN = np.full(labels_PN.shape, np.nan)
    for train, test in splits(of, of.fold_N):
        train_ND, test_ND = prepare(x[train], x[test])
        target_NP = np.where(labels_PN[:, train], 1.0, -1.0).T
        for s in np.unique(of.scenario_N[train]):
            rows = of.scenario_N[train] == s
            target_NP[rows] -= target_NP[rows].mean(axis=0)
        kernel = train_ND @ train_ND.T
        kernel[np.diag_indices_from(kernel)] += 4 / c
        dual_NP = scipy.linalg.cho_solve(scipy.linalg.cho_factor(kernel), target_NP)
        scores_PN[:, test] = (test_ND @ train_ND.T @ dual_NP).T
    return scores_PN


def widening(scores_PN: np.ndarray, labels_PN: np.ndarray, of: Design, seed: int) -> float:
    """By what factor an interval from `probe_scores.bootstrap` is too narrow, at least 1.

    The bootstrap holds the fitted probes fixed, though other completions would have fitted others,
    and cross-validated scores depend on each other through them (Bates, Hastie and Tibshirani
    2024, J. Am. Stat. Assoc. 119, 1434-1445). Where labels tell nothing, both are measured: the SD
    of balanced accuracy over permutations, over its mean bootstrap SE.
    """
    weights_RN = resampled_weights(of, _WIDENING_DRAWS, seed).astype(np.float64)
    once_1N = np.ones((1, len(of.deceptive_N)))
    spread = balanced_accuracies(scores_PN, labels_PN, once_1N)[0].std(ddof=1)
    error = balanced_accuracies(scores_PN, labels_PN, weights_RN).std(axis=0, ddof=1).mean()
    return max(1.0, float(spread / error)) if error > 0 else 1.0
