"""Whether maps hang on what a model was taught: its maps beside those of the same recipe trained again.

Three comparisons, each the rank correlation of two maps of every test sample:

- `labels`: with a model whose training labels were permuted (Adebayo et al., NeurIPS 2018);
- `seeds`: with models of the true labels under further seeds;
- `samples`: with the same model's map of another patient's sample, which is what maps share that tell nothing of a
  sample: a bright middle, dark sides.

Three checks, each a row of sanity.verdict. Labels: maps under permuted labels must not be like the model's (below
sanity.MAX_CORRELATION). Teaching: maps under another seed must be more like them than maps under permuted labels are.
Seeds: maps of one sample under two seeds must be more alike than maps of two samples under one, or the draw of the
weights says more about a map than the image does. Both differences are paired.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.data.samples import Samples
from mammo.explain import sanity_checks
from mammo.explain.saliency import Floats
from mammo.metrics.clustered_means import Means, clustered_means
from mammo.metrics.resampling import Resampling

LABELS, SEEDS, SAMPLES = "labels", "seeds", "samples"
SEEDS_LABELS, SEEDS_SAMPLES = "seeds - labels", "seeds - samples"
TEACHING = "teaching"


def permuted_labels(samples: Samples, seed: int) -> Samples:
    """The same samples, the labels of the training rows permuted among these; others keep theirs."""
    index = samples.index.copy()
    training = index["split"] == "train"
    index.loc[training, "label"] = np.random.default_rng(seed).permutation(index.loc[training, "label"].to_numpy())
    return Samples(index, samples.images)


def agreement(maps: Floats, labels: Floats, seeds: Sequence[Floats], patient_id: npt.ArrayLike) -> pd.DataFrame:
    """Rank correlations of maps (n, h, w) with those of other models, and of other samples: one row per sample.

    labels: maps of the model of permuted labels; seeds: of each further seed, of whose correlations the mean is taken.
    nan where one of two maps is even, and without further seeds.
    """
    of_seeds = [sanity_checks.alike(maps, others)["rank_correlation"] for others in seeds]
    return pd.DataFrame(
        {
            LABELS: sanity_checks.alike(maps, labels)["rank_correlation"],
            SEEDS: np.mean(of_seeds, axis=0) if of_seeds else np.nan,
            SAMPLES: sanity_checks.of_two_patients(maps, patient_id),
        }
    )


def summary(rows: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    """Means of `agreement` with limits by patient, and of the differences that the rules ask for.

    rows: `agreement` with patient_id. Columns: comparison, mean, low, high, n, n_patients.
    """
    return pd.DataFrame([{"comparison": name, **found.row()} for name, found in _compared(rows, how).items()])


def _compared(rows: pd.DataFrame, how: Resampling) -> dict[str, Means]:
    values = {
        LABELS: rows[LABELS],
        SEEDS: rows[SEEDS],
        SAMPLES: rows[SAMPLES],
        SEEDS_LABELS: rows[SEEDS] - rows[LABELS],
        SEEDS_SAMPLES: rows[SEEDS] - rows[SAMPLES],
    }
    return {name: clustered_means(value, rows["patient_id"], how) for name, value in values.items()}


def verdicts(rows: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    """The checks on `agreement` with patient_id, as rows of sanity.verdict."""
    found = _compared(rows, how)
    return pd.DataFrame(
        [
            sanity_checks.verdict(LABELS, found[LABELS], sanity_checks.BELOW, sanity_checks.MAX_CORRELATION),
            sanity_checks.verdict(TEACHING, found[SEEDS_LABELS], sanity_checks.ABOVE, 0.0),
            sanity_checks.verdict(SEEDS, found[SEEDS_SAMPLES], sanity_checks.ABOVE, 0.0),
        ]
    )
