"""Checks whether maps depend on the training labels: a model's maps beside those of the same training repeated.

Three comparisons, each the rank correlation of two maps of every test sample:

- `labels`: with a model whose training labels were permuted (Adebayo et al., NeurIPS 2018);
- `seeds`: with models of the true labels under further seeds;
- `samples`: with the same model's map of another patient's sample, which is what maps share that says nothing about a
  sample: a bright middle, dark sides.

Three checks, each a row of judge_check. Labels: maps under permuted labels must not be like the model's (below
MAX_CORRELATION). Teaching: maps under another seed must be more like them than maps under permuted labels are.
Seeds: maps of one sample under two seeds must be more alike than maps of two samples under one, or the initial weights
say more about a map than the image does. Both differences are paired.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.data.samples import Samples
from mammo.explain import sanity_checks
from mammo.explain.saliency import Floats
from mammo.explain.verdicts import ABOVE, BELOW, LABELS, MAX_CORRELATION, SEEDS, TEACHING, judge_check
from mammo.metrics.clustered_means import Means, clustered_means
from mammo.metrics.resampling import Resampling

SAMPLES = "samples"
SEEDS_LABELS, SEEDS_SAMPLES = "seeds - labels", "seeds - samples"


def permute_labels(samples: Samples, seed: int) -> Samples:
    """Permute the labels among the training rows; other rows keep theirs."""
    index = samples.index.copy()
    training = index["split"] == "train"
    index.loc[training, "label"] = np.random.default_rng(seed).permutation(index.loc[training, "label"].to_numpy())
    return Samples(index, samples.images)


def correlate_maps(maps: Floats, labels: Floats, seeds: Sequence[Floats], patient_id: npt.ArrayLike) -> pd.DataFrame:
    """Correlate maps (n, h, w) with those of other models, and of other samples: one row per sample.

    labels: maps of the model of permuted labels; seeds: of each further seed, of whose correlations the mean is taken.
    nan where one of two maps is even, and without further seeds.
    """
    seed_correlations = [sanity_checks.compare_maps(maps, others)["rank_correlation"] for others in seeds]
    return pd.DataFrame(
        {
            LABELS: sanity_checks.compare_maps(maps, labels)["rank_correlation"],
            SEEDS: np.mean(seed_correlations, axis=0) if seed_correlations else np.nan,
            SAMPLES: sanity_checks.correlate_patients(maps, patient_id),
        }
    )


def summarize_agreement(rows: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Average `correlate_maps` with limits by patient, and the differences that the checks rest on.

    rows: `correlate_maps` with patient_id. Columns: comparison, mean, low, high, n, n_patients.
    """
    return pd.DataFrame(
        [{"comparison": name, **means.row()} for name, means in _average_comparisons(rows, resampling).items()]
    )


def _average_comparisons(rows: pd.DataFrame, resampling: Resampling) -> dict[str, Means]:
    values = {
        LABELS: rows[LABELS],
        SEEDS: rows[SEEDS],
        SAMPLES: rows[SAMPLES],
        SEEDS_LABELS: rows[SEEDS] - rows[LABELS],
        SEEDS_SAMPLES: rows[SEEDS] - rows[SAMPLES],
    }
    return {name: clustered_means(value, rows["patient_id"], resampling) for name, value in values.items()}


def check_agreement(rows: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Run the checks on `correlate_maps` with patient_id, as rows of verdicts.judge_check."""
    means = _average_comparisons(rows, resampling)
    return pd.DataFrame(
        [
            judge_check(LABELS, means[LABELS], BELOW, MAX_CORRELATION),
            judge_check(TEACHING, means[SEEDS_LABELS], ABOVE, 0.0),
            judge_check(SEEDS, means[SEEDS_SAMPLES], ABOVE, 0.0),
        ]
    )
