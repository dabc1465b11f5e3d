"""Rules for the choice of a setting: the classes by each, and their agreement between halves of the models.

Rules are the most stable setting of all spaces, the finest reproducible one of one space, and
`select_setting`, which takes the space whose halves agree best. All have the same results of one sweep. Used
by `tests.benchmarks.independent_classes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from itertools import combinations
from statistics import mean

import numpy as np
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.algorithms import Labels
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.consensus import drop_unstable_classes, find_consensus
from distspec.clustering.labeler import Assignment
from distspec.clustering.selection import Selection, select_setting
from distspec.clustering.sweep_scores import SweepScores, score_sweep
from distspec.clustering.trials import TrialResult

MOST_STABLE, ALL = "most stable of all spaces", "select_setting"


def print_rule_scores(
    results: Sequence[TrialResult], clustering: ClusteringConfig, describe: Callable[[Labels], str]
) -> None:
    """Print for each rule the setting, the agreement of halves of the models, and what the classes are.

    `results` are those on the data, of a sweep with an even number of models.
    """
    scores = score_sweep(results, clustering)
    spaces = dict.fromkeys(setting.space for setting in scores.members)
    models = set(range(clustering.n_clustered_models))
    for rule in (MOST_STABLE, *spaces, ALL):

        def find(chosen: Set[int], rule: str = rule) -> tuple[Selection, Labels]:
            own = scores.select_models(results, chosen)
            selection = select_by(rule, results, own, clustering)
            return selection, find_labels(selection, results, own, clustering)

        selection, labels = find(models)
        halves = [{0, *others} for others in combinations(models - {0}, len(models) // 2 - 1)]
        agreement = mean(adjusted_rand_score(find(half)[1], find(models - half)[1]) for half in halves)
        print(f"  {rule}: {selection.setting}; halves {agreement:.2f}; {describe(labels)}", flush=True)


def select_by(
    rule: str, results: Sequence[TrialResult], scores: SweepScores, clustering: ClusteringConfig
) -> Selection:
    """Return the setting that a rule takes; the name of a space is the rule for this space."""
    if rule == MOST_STABLE:
        spaces = dict.fromkeys(setting.space for setting in scores.members)
        stablest = replace(clustering, min_stability=1.0)
        selections = [select_by(space, results, scores, stablest) for space in spaces]
        return max(selections, key=lambda selection: scores.mean_stability(selection.setting))
    if rule != ALL:
        members = {s: indices for s, indices in scores.members.items() if s.space == rule}
        scores = replace(scores, members=members)
    selection = select_setting(results, scores, clustering)
    assert selection is not None
    return selection


def find_labels(
    selection: Selection, results: Sequence[TrialResult], scores: SweepScores, clustering: ClusteringConfig
) -> Labels:
    """Return the consensus classes of a setting."""
    members = [results[i].labels.astype(np.int32) for i in scores.members[selection.setting]]
    consensus = find_consensus(members, selection.n_classes, np.random.default_rng(0))
    consensus = drop_unstable_classes(consensus, members, clustering.min_class_jaccard)
    return Assignment.from_members(consensus, members).labels
