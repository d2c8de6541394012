"""Train one architecture; write the model and its validation and test predictions."""

from mammo import models
from mammo.core.config import load_config
from mammo.pipeline import train_run
from mammo.training import trainer
from stages import run


def main(name: str) -> None:
    """Train `models.<name>` of params.yaml; resume a killed training."""
    config = load_config()
    with train_run.start(train_run.task_for("train", name, config), config.tracking.experiment) as training:
        weights_path = train_run.find_weights(training.config.model)
        model = models.build(training.config.model, training.samples.image_shape, config.seed, weights_path)
        result = trainer.fit(model, training.samples, training.config, training.checkpoint_dir, training.log.log_epoch)
        training.save(name, model, result)


if __name__ == "__main__":
    run(main)
