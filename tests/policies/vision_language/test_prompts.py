"""What the model is shown."""

import math

import pytest
import torch

from craft_lightning.conventions import BEV_CHANNELS
from craft_lightning.policies.vision_language.prompts import PAINT, commands, corpus, paint, sentence, sentences
from craft_lightning.testing.subject import observe_at_random


def arc(angle: float, begin: float) -> torch.Tensor:
    """A route of 20 points, 2 m apart, that turns by ``angle`` radians over 12 m from ``begin`` metres on."""
    distance = torch.arange(20) * 2.0
    heading = angle * ((distance - begin) / 12.0).clamp(0.0, 1.0)
    step = torch.stack([heading.cos(), heading.sin()], -1) * 2.0
    return torch.cat([torch.zeros(1, 2), step.cumsum(0)[:-1]])[None]


def test_every_layer_has_a_colour_and_what_must_not_be_hit_is_on_top():
    assert set(PAINT) == set(BEV_CHANNELS)
    assert list(PAINT)[-2:] == ["vehicle", "walker"]
    bev = torch.zeros(1, len(BEV_CHANNELS), 4, 4, dtype=torch.uint8)
    for number in range(len(BEV_CHANNELS)):
        bev[0, number, : number % 4 + 1] = 255
    picture = paint(bev)
    assert picture.dtype == torch.uint8
    assert picture.shape == (1, 3, 4, 4)
    for row in range(4):
        shown = [name for name in PAINT if bev[0, BEV_CHANNELS.index(name), row, 0]]
        assert tuple(picture[0, :, row, 0].tolist()) == PAINT[shown[-1]]
    assert not paint(torch.zeros_like(bev)).any()


@pytest.mark.parametrize(
    ("angle", "begin", "said"),
    [(0.0, 0.0, "straight"), (1.5, 8.0, "left in 8"), (-1.5, 18.0, "right in 20"), (0.3, 10.0, "straight")],
)
def test_commands_say_what_a_navigator_would(angle, begin, said):
    assert commands(arc(angle, begin)) == [said]


def test_a_route_across_the_seam_of_angles_is_no_turn():
    route = torch.stack([-torch.arange(20.0), torch.tensor([1e-3, -1e-3] * 10)], -1)[None]
    assert commands(route) == ["straight"]


def test_numbers_are_rounded_and_clipped():
    assert sentence(7.26, -0.2, 0.04, 13.9, "straight") == "speed 7.5 change 0.0 steer 0 limit 14 go straight"
    assert "speed 25.0 change -9.5 steer -9 limit 25" in sentence(99.0, -99.0, -math.pi, 99.0, "straight")
    assert "speed 0.0" in sentence(-1e-3, 0.0, 0.0, 0.0, "straight")


def test_every_sentence_fits_the_prompt(policy_of):
    policy = policy_of()
    inputs = policy.trunk.inputs(observe_at_random(32, 0))
    assert inputs["input_ids"].shape == (32, policy.trunk.prompt_length)
    assert inputs["attention_mask"].sum(1).max() <= policy.trunk.prompt_length
    # Padded on the left: the last token is always a word.
    assert inputs["attention_mask"][:, -1].all()
    # Numbers are words of their own, so that sentences are short.
    assert len(policy.trunk.processor.tokenizer(sentences(observe_at_random(1, 0))[0])["input_ids"]) <= 24
    assert len(set(corpus())) > 40
