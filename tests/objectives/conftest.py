"""A Trainer that says and writes nothing."""

import pytest
from lightning.pytorch import Trainer


@pytest.fixture
def quiet_trainer():
    def make(callbacks, **arguments):
        return Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            **arguments,
        )

    return make
