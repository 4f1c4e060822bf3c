"""What the vocabulary scorer is built from: raster sampling, decoder, observations, half precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from craft_lightning.conventions import BEV_CELLS, BEV_METRES_AHEAD, BEV_METRES_PER_CELL
from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import CandidateDecoder, CrossAttentionLayer, half_rounded
from craft_lightning.policies.entries import entry_features, sample_index, sampling_matrix
from craft_lightning.policies.observation import check_observation
from craft_lightning.structures import Observation
from craft_lightning.testing.tiny import random_vocabulary


def test_sampling_matrix_is_bilinear_sampling():
    entries = random_vocabulary(9).trajectories
    cells, pieces = 24, 4
    features = torch.randn(1, 3, cells, cells, generator=torch.Generator().manual_seed(0))
    side = BEV_CELLS * BEV_METRES_PER_CELL
    # grid_sample wants x to the right and y down, -1 and 1 at the outer edges.
    right = -entries[..., 1] / (side / 2)
    down = (BEV_METRES_AHEAD - entries[..., 0]) / side * 2 - 1
    sampled = functional.grid_sample(features, torch.stack([right, down], -1)[None], align_corners=False)[0]
    expected = sampled.permute(1, 2, 0).unflatten(1, (pieces, -1)).mean(2)
    found = (sampling_matrix(entries, cells, pieces) @ features[0].flatten(1).T).unflatten(0, (9, pieces))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_sampling_reads_what_lies_on_the_path():
    # A car 10 m ahead and 3 m to the left is seen by the entry that goes there and by no other.
    raster = torch.zeros(BEV_CELLS, BEV_CELLS)
    row, column = int((BEV_METRES_AHEAD - 10.0) / 0.5), int((24.0 - 3.0) / 0.5)
    raster[row - 2 : row + 2, column - 2 : column + 2] = 1.0
    there, mirrored, back = torch.zeros(3, 40, 3)
    there[:, 0], there[:, 1] = torch.linspace(0.25, 10.0, 40), torch.linspace(0.075, 3.0, 40)
    mirrored[:] = there * torch.tensor([1.0, -1.0, 1.0])
    back[:] = there * torch.tensor([-1.0, 1.0, 1.0])
    seen = sampling_matrix(torch.stack([there, mirrored, back]), BEV_CELLS, 8) @ raster.flatten()
    seen = seen.view(3, 8)
    assert seen[0, -1] > 0.4
    assert (seen[0, :5] == 0).all()
    assert (seen[1:] == 0).all()


def test_entries_beyond_the_raster_read_nothing():
    far = torch.zeros(1, 40, 3)
    far[..., 0] = 100.0
    assert not sampling_matrix(far, 24).any()


@pytest.mark.parametrize(("poses", "samples"), [(40, 8), (40, 7), (20, 8), (6, 6)])
def test_samples_end_with_the_last_pose(poses, samples):
    index = sample_index(poses, samples)
    assert index[-1] == poses - 1
    assert (index.diff() > 0).all()
    assert index[0] >= 0


def test_entry_features_of_constant_speed():
    straight = torch.zeros(1, 40, 3)
    straight[..., 0] = torch.arange(1, 41) * 0.6
    features = entry_features(straight, 0.1, 4)[0]
    expected = [0.3, 0.6, 0.9, 1.2] + [0.0] * 4 + [1.0] * 4 + [0.0] * 4 + [0.6] * 5
    torch.testing.assert_close(features, torch.tensor(expected))


def test_queries_do_not_see_each_other():
    torch.manual_seed(0)
    decoder = CandidateDecoder(16, 2, 4, 16, path_features=6)
    queries, tokens, path = torch.randn(1, 10, 16), torch.randn(3, 5, 16), torch.randn(3, 10, 6)
    everything = decoder(queries, tokens, path)
    part = decoder(queries[:, 4:7], tokens, path[:, 4:7])
    torch.testing.assert_close(part, everything[:, 4:7], atol=1e-6, rtol=1e-6)
    expanded = decoder(queries.expand(3, -1, -1), tokens, path)
    torch.testing.assert_close(expanded, everything, atol=1e-6, rtol=1e-6)


def test_attention_matches_torch_multihead():
    torch.manual_seed(0)
    layer = CrossAttentionLayer(12, 3, 8)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key_value.weight]))
        reference.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key_value.bias]))
        reference.out_proj.weight.copy_(layer.output.weight)
        reference.out_proj.bias.copy_(layer.output.bias)
    queries, tokens = torch.randn(2, 6, 12), torch.randn(2, 4, 12)
    middle = queries + reference(layer.query_norm(queries), tokens, tokens, need_weights=False)[0]
    torch.testing.assert_close(layer(queries, tokens), middle + layer.feedforward(middle))


def test_half_rounding_passes_the_gradient():
    values = torch.tensor([1.0001, -3.14159, 2e-5], requires_grad=True)
    rounded = half_rounded(values)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded.detach(), values.detach().half().float())
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones(3))
    with torch.no_grad():
        assert half_rounded(values.detach()).dtype == torch.float16


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("bev", torch.zeros(2, 6, 96, 96), "float32"),
        ("bev", torch.zeros(2, 3, 96, 96, dtype=torch.uint8), "6, H, W"),
        ("ego", torch.zeros(2, 4), "observation.ego has shape"),
        ("route", torch.full((2, 20, 2), torch.nan), "observation.route holds NaN"),
    ],
)
def test_bad_observations_are_refused(field, value, text):
    good = {
        "bev": torch.zeros(2, 6, 96, 96, dtype=torch.uint8),
        "ego": torch.zeros(2, 5),
        "route": torch.zeros(2, 20, 2),
    }
    check_observation(Observation(**good, batch_size=[2]))
    with pytest.raises(CraftError, match=text):
        check_observation(Observation(**{**good, field: value}, batch_size=[2]))


def test_backbones_without_the_right_strides_are_refused():
    from craft_lightning.adapters.vocabulary_scorer import VocabularyScorer

    with pytest.raises(CraftError, match="fine_stride"):
        VocabularyScorer(fine_stride=3)
