import keras
import numpy as np
import pytest

from mammo.training.optimizer import DECAY_END, WARMUP_START, StepRates, learning_rates


@pytest.mark.parametrize(("steps", "warmup_fraction"), [(200, 0.1), (7, 0.3), (50, 0.0), (5, 0.1), (1, 0.0)])
def test_the_rates_are_those_of_keras_schedule(steps, warmup_fraction):
    warmup = int(steps * warmup_fraction)
    expected = keras.optimizers.schedules.CosineDecay(
        0.003 * WARMUP_START if warmup else 0.003,
        max(1, steps - warmup),
        alpha=DECAY_END,
        warmup_target=0.003 if warmup else None,
        warmup_steps=warmup,
    )
    rates = learning_rates(0.003, steps, warmup_fraction)
    np.testing.assert_allclose(rates, [expected(step) for step in range(steps + 1)], rtol=1e-5)


def test_a_step_has_its_rate_and_after_the_last_it_stays():
    schedule = StepRates([0.1, 0.2, 0.3])
    assert [float(schedule(step)) for step in (0, 1, 2, 3, 100)] == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3])


def test_the_schedule_survives_a_saved_optimizer():
    optimizer = keras.optimizers.AdamW(StepRates([0.1, 0.2]))
    assert [float(rate) for rate in optimizer.get_config()["learning_rate"]["config"]["rates"]] == pytest.approx(
        [0.1, 0.2]
    )
