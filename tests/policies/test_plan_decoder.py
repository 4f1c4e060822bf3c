"""What hierarchical policies are built from: the decoder of paths and pairs, and the list of objects."""

import pytest
import torch
from craft_lightning.adapters.object_planner import ObjectPlanner

from craft_lightning.conventions import AGENT_VEHICLE, MAX_OBJECTS, OBJECT_CLOSED_LINE
from craft_lightning.errors import CraftError
from craft_lightning.policies.objects import OBJECT_COLUMNS, normalised_objects
from craft_lightning.policies.plan_decoder import PlanDecoder, piece_weights
from craft_lightning.policies.plan_grid import travelled
from craft_lightning.structures import Observation
from craft_lightning.testing.subject import observe_at_random
from craft_lightning.testing.tiny_hierarchical import fan_grid


def test_piece_weights_interpolate_between_middles():
    # Pieces of 4 m have their middles at 2, 6, 10 m.
    weights = piece_weights(torch.tensor([0.0, 2.0, 5.0, 10.0, 90.0]), 4.0, 3)
    expected = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.fixture
def decoded():
    torch.manual_seed(0)
    decoder = PlanDecoder(16, 2, 4, 32, pieces=10, channels=3).eval()
    grid = fan_grid(6, 5)

    def decode(raster, tokens, paths=slice(None), speeds=slice(None), speed=8.0):
        distance = travelled(grid.speeds[speeds], grid.top_speed, grid.dt, torch.full((2,), speed))
        with torch.no_grad():
            return decoder(tokens, grid.paths[paths], grid.speeds[speeds], distance, raster[:, paths])

    return decode, torch.randn(2, 6, 10, 3), torch.randn(2, 7, 16)


def test_queries_do_not_see_each_other(decoded):
    decode, raster, tokens = decoded
    path, pairs = decode(raster, tokens)
    few_path, few_pairs = decode(raster, tokens, slice(1, 4), slice(2, 4))
    torch.testing.assert_close(few_path, path[:, 1:4], atol=1e-5, rtol=0)
    torch.testing.assert_close(few_pairs, pairs[:, 1:4, 2:4], atol=1e-5, rtol=0)


def test_a_pair_reads_the_raster_of_its_path(decoded):
    decode, raster, tokens = decoded
    path, pairs = decode(raster, tokens)
    changed = raster.clone()
    changed[:, 2] += 1.0
    other_path, other_pairs = decode(changed, tokens)
    same = torch.arange(6) != 2
    assert torch.equal(other_path[:, same], path[:, same])
    assert torch.equal(other_pairs[:, same], pairs[:, same])
    assert not torch.allclose(other_pairs[:, 2], pairs[:, 2])


def test_objects_become_numbers_near_one():
    observation = observe_at_random(3, 0)
    objects = torch.zeros_like(observation.objects)
    objects[0, 0] = torch.tensor([20.0, -10.0, 0.5, 10.0, 4.5, 2.0, AGENT_VEHICLE])
    objects[1, MAX_OBJECTS] = torch.tensor([30.0, 0.0, 0.0, 0.0, 0.0, 3.5, OBJECT_CLOSED_LINE])
    objects[2, 0] = torch.tensor([80.0, 0.0, 0.0, 5.0, 4.5, 2.0, AGENT_VEHICLE])
    observation.objects = objects
    features, seen = normalised_objects(observation, 60.0)
    assert features.shape[-1] == OBJECT_COLUMNS
    assert seen.nonzero().tolist() == [[0, 0], [1, MAX_OBJECTS]]
    cos, sin = torch.tensor(0.5).cos(), torch.tensor(0.5).sin()
    torch.testing.assert_close(features[0, 0], torch.tensor([1.0, -0.5, cos, sin, 1.0, 0.9, 1.0, 1, 0, 0, 0, 0]))
    assert features[1, MAX_OBJECTS, -1] == 1.0
    assert not features[2].any()


def test_observations_without_objects_are_refused():
    whole = observe_at_random(2, 0)
    bare = Observation(bev=whole.bev, ego=whole.ego, route=whole.route, batch_size=[2])
    with pytest.raises(CraftError, match="objects is missing"):
        normalised_objects(bare, 60.0)
    for value, text in ((whole.objects[:, :3], "shape"), (whole.objects * torch.nan, "NaN")):
        whole.objects = value
        with pytest.raises(CraftError, match=text):
            normalised_objects(whole, 60.0)
        whole = observe_at_random(2, 0)


def test_what_is_out_of_reach_changes_nothing_and_order_neither():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        policy = ObjectPlanner.example().set_trainable("none").eval()
    observation = observe_at_random(4, 1)
    observation.objects[:, 10:MAX_OBJECTS] = 0.0

    def log_probs():
        candidates = policy.propose(policy.encode(observation))
        return candidates.log_probs.masked_fill(~candidates.mask, 0.0)

    found = log_probs()
    observation.objects[:, 12, :] = torch.tensor([70.0, 0.0, 0.0, 0.0, 4.0, 2.0, AGENT_VEHICLE])
    torch.testing.assert_close(log_probs(), found, atol=2e-3, rtol=0)
    observation.objects[:, :MAX_OBJECTS] = observation.objects[:, :MAX_OBJECTS].flip(1)
    torch.testing.assert_close(log_probs(), found, atol=2e-3, rtol=0)
    observation.objects[:, 12] = torch.tensor([5.0, 0.0, 0.0, 0.0, 4.0, 2.0, AGENT_VEHICLE])
    assert (log_probs() - found).abs().max() > 1e-2
