"""Training on evaluation routes is refused unless asked for, and then stamped into every result."""

import pytest

from craft_lightning.errors import CraftError
from craft_lightning.rollouts.datamodule import DrivingDataModule


def test_overlapping_suites_are_refused():
    data = DrivingDataModule(train_routes="craftville_eval")
    with pytest.raises(CraftError, match="evaluation"):
        data.setup()


def test_overlap_that_was_asked_for_is_stamped():
    data = DrivingDataModule(train_routes="craftville_eval", allow_training_on_evaluation_routes=True)
    data.setup()
    assert data.protocol.trained_on_evaluation
    assert data.protocol.to_dict()["trained_on_evaluation"] is True
    assert "TRAINED ON THESE ROUTES" in str(data.protocol)


def test_disjoint_suites_carry_no_stamp():
    data = DrivingDataModule()
    data.setup()
    assert not data.protocol.trained_on_evaluation
    assert "TRAINED" not in str(data.protocol)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"worlds": 0}, r"data\.worlds"),
        ({"transitions": 10, "worlds": 4}, r"data\.transitions"),
        ({"passes": 0}, r"data\.passes"),
        ({"host": "127.0.0.1"}, r"data\.worlds"),
    ],
)
def test_numbers_that_do_not_fit_name_the_field(arguments, field):
    with pytest.raises(CraftError, match=field):
        DrivingDataModule(**arguments)
