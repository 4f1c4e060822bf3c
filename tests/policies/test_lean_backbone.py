"""A frozen backbone's leaner copy: the same maps, never those of older weights."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from craft_lightning.policies.lean_backbone import LeanBackbone
from craft_lightning.policies.path_reading import PathReader


def backbone(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", in_chans=3, features_only=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_copy_computes_the_wanted_maps_without_batch_norms_and_unread_stages(pictures):
    model = backbone().requires_grad_(False)
    lean = LeanBackbone(model, (3, 1))
    found, expected = lean(pictures), model(pictures)
    torch.testing.assert_close(found, [expected[3], expected[1]], atol=1e-4, rtol=1e-4)
    names = {name: type(module) for name, module in lean._current().named_modules()}
    assert nn.Conv2d in names.values()
    assert nn.BatchNorm2d not in names.values()
    assert not any("layer4" in name for name in names)


def test_where_something_is_learnt_the_backbone_itself_runs(pictures):
    model = backbone()
    lean = LeanBackbone(model, (1, 3))
    first, _ = lean(pictures)
    assert first.requires_grad
    model.train()
    before = model.bn1.running_mean.clone()
    with torch.no_grad():
        lean(pictures)
    assert not torch.equal(model.bn1.running_mean, before)  # batch statistics moved: it was the backbone


@pytest.mark.parametrize("change", ["loaded", "stepped", "cast"])
def test_new_weights_make_a_new_copy(pictures, change):
    model = backbone().requires_grad_(False)
    lean = LeanBackbone(model, (1, 3))
    lean(pictures)
    if change == "loaded":
        model.load_state_dict(backbone(5).state_dict())
    elif change == "stepped":
        with torch.no_grad():
            model.layer2[0].conv1.weight.mul_(0.5)
    else:
        model.double()
        pictures = pictures.double()
    expected = model(pictures)
    torch.testing.assert_close(lean(pictures), [expected[1], expected[3]], atol=1e-4, rtol=1e-4)


def test_copies_and_pickles_follow_their_own_backbone(pictures):
    whole = nn.Module()
    whole.backbone = backbone().requires_grad_(False)
    whole.maps = LeanBackbone(whole.backbone, (1, 3))
    whole.maps(pictures)
    for other in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert other.maps.backbone is other.backbone
        other.backbone.load_state_dict(backbone(5).state_dict())
        expected = other.backbone(pictures)
        torch.testing.assert_close(other.maps(pictures), [expected[1], expected[3]], atol=1e-4, rtol=1e-4)
    assert not [name for name in whole.state_dict() if "maps" in name]


class Stubborn(nn.Module):
    """Decides by numbers, which a tracer does not have."""

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [pictures, pictures * 2.0] if bool(pictures.sum() > 0) else [pictures, pictures]


def test_a_backbone_that_cannot_be_followed_runs_as_it_is(pictures):
    (found,) = LeanBackbone(Stubborn().eval(), (1,))(pictures)
    assert torch.equal(found, pictures * 2.0)


def test_a_path_reader_is_the_matrix_it_was_made_of():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(12, 40, generator=generator)
    matrix[torch.rand(12, 40, generator=generator) < 0.9] = 0.0
    maps = torch.randn(3, 5, 40, generator=generator).requires_grad_()
    reader = PathReader(matrix)
    assert torch.equal(reader.cells, matrix.any(0).nonzero().flatten())
    found = reader(reader.touched(maps))
    expected = matrix @ maps.transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(3, 12, 5, generator=generator)
    (gradient,) = torch.autograd.grad((found * weights).sum(), maps, retain_graph=True)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), maps)
    torch.testing.assert_close(gradient, wanted)
    assert not reader.state_dict()
