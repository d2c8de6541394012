"""What ensembles combine and what a champion is chosen among: means over members, where there are several."""

import pytest

from mammo.core import row_names
from mammo.core.config import Config, CrossValidateConfig, load_config
from tests.workspaces import COMMITTED

CONFIG = load_config(COMMITTED)


def with_members(*models: str) -> Config:
    chosen = {name: CONFIG.models[name].architecture for name in models}
    return CONFIG.model_copy(update={"cross_validate": CrossValidateConfig(models=chosen, repeats=1, val_fraction=0.2)})


def test_several_averaged_models_are_combined_and_compete_alone() -> None:
    config = with_members("light_cnn", "basic_vgg16")
    names = ["members_light_cnn", "members_basic_vgg16"]
    assert row_names.ensemble_member_names(config) == row_names.candidate_names(config) == names


@pytest.mark.parametrize("models", [(), ("light_cnn",)], ids=["none", "one"])
def test_with_fewer_the_single_models_are(models: tuple[str, ...]) -> None:
    config = with_members(*models)
    assert row_names.candidate_names(config) == [*CONFIG.models, "continue_training"]
    assert row_names.ensemble_member_names(config)[:-1] == row_names.candidate_names(config)
    assert row_names.ensemble_member_names(config)[-1].startswith("seeds/light_cnn/")
