import pytest
import torch

from craft_lightning.counterfactual import explained_variance, group_advantage
from craft_lightning.errors import CraftError


def test_by_hand():
    # mean 20, population std sqrt((400 + 0 + 400) / 3) = 16.3299
    returns = torch.tensor([[0.0, 20.0, 40.0, 999.0]])
    mask = torch.tensor([[True, True, True, False]])
    expected = [-1.2247449, 0.0, 1.2247449, 0.0]
    assert group_advantage(returns, mask)[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_floor():
    # mean 3, std sqrt(2) < 5: divided by 5
    returns = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert group_advantage(returns, mask)[0].tolist() == pytest.approx([-0.4, -0.2, 0.0, 0.2, 0.4])
    assert group_advantage(returns, mask, floor=1.0)[0, 4].item() == pytest.approx(2.0 / 2.0**0.5)


def test_empty_and_poisoned_groups():
    returns = torch.tensor([[1.0, torch.nan], [torch.inf, torch.nan]])
    mask = torch.tensor([[True, False], [False, False]])
    assert (group_advantage(returns, mask) == 0).all()


def test_weights():
    # Weights 1/2, 1/2, 0: mean 10, variance 100; the candidate that nobody would choose moves nothing.
    returns = torch.tensor([[0.0, 20.0, -500.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    weights = torch.tensor([[0.5, 0.5, 0.0]])
    assert group_advantage(returns, mask, weights=weights)[0].tolist() == pytest.approx([-1.0, 1.0, -51.0])
    # Scaling them is no change.
    again = group_advantage(returns, mask, weights=7.0 * weights)
    assert torch.allclose(again, group_advantage(returns, mask, weights=weights))


def test_errors():
    returns, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(CraftError, match="mask is"):
        group_advantage(returns, mask[:, :2])
    with pytest.raises(CraftError, match="floor is 0"):
        group_advantage(returns, mask, floor=0.0)
    with pytest.raises(CraftError, match="weights holds"):
        group_advantage(returns, mask, weights=-torch.ones(2, 3))


def test_explained_variance():
    generator = torch.Generator().manual_seed(0)
    returns = torch.randn(1, 50, generator=generator, dtype=torch.float64)
    mask = torch.ones(1, 50, dtype=torch.bool)
    assert explained_variance(2.0 * returns - 3.0, returns, mask).item() == pytest.approx(1.0)
    noise = torch.randn(1, 50, generator=generator, dtype=torch.float64)
    expected = torch.corrcoef(torch.cat([noise + returns, returns]))[0, 1].item() ** 2
    assert explained_variance(noise + returns, returns, mask).item() == pytest.approx(expected)
    assert explained_variance(torch.zeros(1, 50), returns.float(), mask).isnan().all()
