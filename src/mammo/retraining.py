"""Whether maps hang on what a model was taught: its maps beside those of the same recipe trained again.

Three comparisons, each the rank correlation of two maps of every test sample:

- `labels`: with a model whose training labels were permuted (Adebayo et al., NeurIPS 2018);
- `seeds`: with models of the true labels under further seeds;
- `samples`: with the same model's map of another patient's sample, which is what maps share that tell nothing of a
  sample: a bright middle, dark sides.

Rules that mark a method as failed. Labels: maps under permuted labels are like the model's (above
sanity.MAX_CORRELATION), or no less like them than maps under another seed are. Seeds: maps of one sample under two
seeds are no more alike than maps of two samples under one, so that the draw of the weights says more about a map than
the image does.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import sanity
from mammo.batches import Samples
from mammo.patient_means import Resampling, means
from mammo.saliency import Floats

LABELS, SEEDS, SAMPLES = "labels", "seeds", "samples"


def permuted(samples: Samples, seed: int) -> Samples:
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
    of_seeds = [sanity.alike(maps, others)["rank_correlation"] for others in seeds]
    other = _of_another_patient(np.asarray(patient_id))
    return pd.DataFrame(
        {
            LABELS: sanity.alike(maps, labels)["rank_correlation"],
            SEEDS: np.mean(of_seeds, axis=0) if of_seeds else np.nan,
            SAMPLES: sanity.alike(maps, maps[other])["rank_correlation"],
        }
    )


def _of_another_patient(patient_id: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """For each row (n,) the position of a row of another patient: the ends of halves apart in an order by patient.

    A patient of more than half of the rows meets himself.
    """
    order = np.argsort(patient_id, kind="stable")
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, len(order) // 2)
    return other


def summary(rows: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    """Means of `agreement` with limits by patient, and of the differences that the rules ask for.

    rows: `agreement` with patient_id. Columns: comparison, mean, low, high, n, n_patients.
    """
    values = {
        LABELS: rows[LABELS],
        SEEDS: rows[SEEDS],
        SAMPLES: rows[SAMPLES],
        f"{SEEDS} - {LABELS}": rows[SEEDS] - rows[LABELS],
        f"{SEEDS} - {SAMPLES}": rows[SEEDS] - rows[SAMPLES],
    }
    return pd.DataFrame(
        [{"comparison": name, **means(value, rows["patient_id"], how).row()} for name, value in values.items()]
    )


def verdicts(rows: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    """The rules on `agreement` with patient_id, as rows of sanity.verdict."""
    labels, seeds, samples = (means(rows[name], rows["patient_id"], how) for name in (LABELS, SEEDS, SAMPLES))
    label_limit = float(np.fmin(sanity.MAX_CORRELATION, seeds.mean[0]))
    return pd.DataFrame(
        [
            sanity.verdict(LABELS, labels, label_limit, failed=not labels.mean[0] < label_limit),
            sanity.verdict(SEEDS, seeds, float(samples.mean[0]), failed=not seeds.mean[0] > samples.mean[0]),
        ]
    )
