"""What probes find in labels that tell nothing: p-values, and how wide an interval should be.

Shape suffixes: N completions, D features, L layers, P permutations, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deception_saes.analysis.folds import Design, resampled_weights, splits
from deception_saes.analysis.probe_scores import balanced_accuracies
from deception_saes.analysis.probes import C, vectoriser

Prepare = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Makes features of what is trained and of what is tested on, fitted on the former alone."""

_DRAWS = 300


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates less their training mean, over their training SD."""
    mean_D, sd_D = train.mean(axis=0), train.std(axis=0)
    scale_D = np.where(sd_D > 0, sd_D, 1.0)
    return (train - mean_D) / scale_D, (test - mean_D) / scale_D


def principal(components: int) -> Prepare:
    """So many principal components of the standardised coordinates."""

    def prepare(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.decomposition import PCA

        train_ND, test_ND = standardised(train, test)
        pca = PCA(components, svd_solver="full")
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
    from scipy.linalg import cho_factor, cho_solve

    scores_PN = np.full(labels_PN.shape, np.nan)
    for train, test in splits(of, of.fold_N):
        train_ND, test_ND = prepare(x[train], x[test])
        target_NP = np.where(labels_PN[:, train], 1.0, -1.0).T
        for s in np.unique(of.scenario_N[train]):
            rows = of.scenario_N[train] == s
            target_NP[rows] -= target_NP[rows].mean(axis=0)
        kernel = train_ND @ train_ND.T
        kernel[np.diag_indices_from(kernel)] += 4 / c
        dual_NP = cho_solve(cho_factor(kernel), target_NP)
        scores_PN[:, test] = (test_ND @ train_ND.T @ dual_NP).T
    return scores_PN


def p_values(observed_L: np.ndarray, null_PL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p of every layer, (1 + permutations at least as large) / (permutations + 1), and
    the same against the largest of all layers in each permutation, which holds for all layers
    together (Westfall and Young 1993). Both [L]."""
    # two accuracies that differ by less differ by rounding
    at_least = null_PL >= observed_L - 1e-9
    largest = null_PL.max(axis=1, keepdims=True) >= observed_L - 1e-9
    p_L, p_max_L = ((1 + of.sum(axis=0)) / (1 + len(null_PL)) for of in (at_least, largest))
    return p_L, p_max_L


def widening(scores_PN: np.ndarray, labels_PN: np.ndarray, of: Design, seed: int) -> float:
    """By what factor an interval from `bootstrap` is too narrow, at least 1.

    The bootstrap holds the fitted probes fixed, though other completions would have fitted others,
    and cross-validated scores depend on each other through them (Bates, Hastie and Tibshirani
    2024, J. Am. Stat. Assoc. 119, 1434-1445). Where labels tell nothing, both are measured: the SD
    of balanced accuracy over permutations, over its mean bootstrap SE.
    """
    weights_RN = resampled_weights(of, _DRAWS, seed).astype(np.float64)
    once_1N = np.ones((1, len(of.deceptive_N)))
    spread = balanced_accuracies(scores_PN, labels_PN, once_1N)[0].std(ddof=1)
    error = balanced_accuracies(scores_PN, labels_PN, weights_RN).std(axis=0, ddof=1).mean()
    return max(1.0, float(spread / error)) if error > 0 else 1.0
