"""Very small policies of every architecture, with weights large enough for differences to show."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from craft_lightning.adapters.vision_language import VisionLanguagePlanner

from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vision_language.tiny import ARCHITECTURES

SMALL = {"paths": 5, "speeds": 4, "width": 64, "layers": 3, "vision_width": 32, "vision_layers": 2}


def make(**arguments: Any) -> VisionLanguagePlanner:
    """Return a policy with a grid, ready to drive."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        policy = VisionLanguagePlanner(**{**SMALL, **arguments})
        for parameter in policy.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
    return policy.set_trainable("lora" if policy.arguments["lora_rank"] else "decoder").eval()


@pytest.fixture
def policy_of() -> Callable[..., VisionLanguagePlanner]:
    return make


@pytest.fixture(params=ARCHITECTURES)
def policy(request: pytest.FixtureRequest) -> VisionLanguagePlanner:
    """One policy an architecture."""
    return make(architecture=request.param)
