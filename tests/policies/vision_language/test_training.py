"""What is trained, what is not, and the traps of low-rank adapters and action tokens that would never raise."""

import copy

import pytest
import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.vision_language.adaptation import is_low_rank, low_rank_parameters, merge_low_rank
from craft_lightning.testing.subject import observe_at_random


def loss_of(policy, context, candidates):
    joint = policy.score(context, candidates).joint[candidates.mask]
    return (joint * torch.linspace(-1.0, 1.0, len(joint))).sum()


def moved(policy, scale=0.1):
    """Give the adapters something to say."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in low_rank_parameters(policy).values():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return policy


@pytest.mark.parametrize("profile", ["heads", "lora", "decoder"])
def test_the_first_ratio_is_exactly_one_whatever_dropout_is_configured(policy_of, profile):
    # P6: dropout between the drawing and the scoring of an action is half of a clip range for outliers.
    policy = moved(policy_of(lora_dropout=0.5, dropout=0.5)).set_trainable(profile)
    policy.train()
    context = policy.encode(observe_at_random(4, 0))
    candidates = policy.propose(context)
    again = policy.score(context, candidates).joint
    assert torch.equal((again - candidates.log_probs)[candidates.mask].exp(), torch.ones_like(again[candidates.mask]))
    assert not any(module.training for module in policy.modules())
    # It is there: in pre-training it moves scores.
    policy.set_trainable("all").train()
    awake = policy.score(policy.encode(observe_at_random(4, 0)), candidates).joint
    assert not torch.allclose(awake[candidates.mask], again[candidates.mask], atol=1e-3)


@pytest.mark.parametrize("trained_layers", [0, 1])
def test_each_profile_trains_exactly_what_it_says(policy_of, trained_layers):
    policy = policy_of(trained_layers=trained_layers)
    rows = {"trunk.actions.output"} | ({"trunk.actions.embedding"} if trained_layers == 0 else set())
    every = set(dict(policy.named_parameters()))
    low_rank = {name for name in every if is_low_rank(name)}
    expected = {"heads": {"trunk.actions.output"}, "lora": low_rank | rows, "all": every - low_rank, "none": set()}
    for profile, names in expected.items():
        assert set(policy.set_trainable(profile).trainable_parameters()) == names
    decoder = set(policy.set_trainable("decoder").trainable_parameters())
    layers = {name.split(".layers.")[1].split(".")[0] for name in decoder if ".layers." in name}
    assert layers == ({"0", "1", "2"} if trained_layers == 0 else {"2"})
    assert not any("vision" in name or is_low_rank(name) for name in decoder)
    # Adapters stand in the trained layers alone.
    assert {name.split(".layers.")[1].split(".")[0] for name in low_rank} == layers


@pytest.mark.parametrize("architecture", ["smolvlm", "qwen2_5_vl"])
@pytest.mark.parametrize("trained_layers", [0, 1])
def test_rows_of_action_tokens_learn_where_output_and_embedding_are_tied_and_where_not(
    policy_of, architecture, trained_layers
):
    policy = policy_of(architecture=architecture, trained_layers=trained_layers)
    context = policy.encode(observe_at_random(3, 1))
    loss_of(policy, context, policy.propose(context)).backward()
    gradient = policy.trunk.actions.output.grad
    assert (gradient.abs().amax(1) > 0).all()
    if trained_layers == 0:
        paths = len(policy.path_table)
        assert (policy.trunk.actions.embedding.grad[:paths].abs().amax(1) > 0).all()


def test_training_the_embedding_alone_leaves_untied_output_rows_without_gradient(policy_of):
    # The trap that the rows of their own avoid: what peft offers for token rows reaches the embedding only.
    from peft import LoraConfig, inject_adapter_in_model

    model = policy_of(architecture="qwen2_5_vl", lora_rank=0).trunk.model
    peft_model = inject_adapter_in_model(
        LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [300, 301]}), model
    )
    peft_model(input_ids=torch.tensor([[300, 301]])).logits[..., 300].sum().backward()
    assert model.get_output_embeddings().weight.grad is None


def test_adapters_start_silent_and_disabled_ones_give_back_the_base(policy_of):
    plain, adapted = policy_of(lora_rank=0), policy_of()
    own = adapted.state_dict()
    adapted.load_state_dict(
        {name: plain.state_dict().get(name.replace(".base_layer", ""), value) for name, value in own.items()}
    )
    # As peft starts them: the second factor at zero.
    for name, parameter in low_rank_parameters(adapted).items():
        torch.nn.init.zeros_(parameter) if "lora_B" in name else None
    observation = observe_at_random(3, 2)
    with torch.no_grad():
        wanted = plain.propose(plain.encode(observation)).log_probs
        assert torch.equal(adapted.propose(adapted.encode(observation)).log_probs, wanted)
        assert not torch.equal(moved(adapted).propose(adapted.encode(observation)).log_probs, wanted)


def test_merged_adapters_compute_the_same(policy_of):
    policy = moved(policy_of())
    merged = copy.deepcopy(policy)
    merge_low_rank(merged.trunk.model)
    assert not low_rank_parameters(merged)
    observation = observe_at_random(3, 3)
    with torch.no_grad():
        first = policy.factor_logits(policy.encode(observation))
        second = merged.factor_logits(merged.encode(observation))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_the_teacher_holds_the_trained_numbers_alone(policy_of):
    policy = policy_of()
    teacher = {name: p.detach().clone() for name, p in policy.trainable_parameters().items()}
    held = sum(tensor.numel() for tensor in teacher.values())
    assert held < 0.05 * sum(parameter.numel() for parameter in policy.parameters())
    context = policy.encode(observe_at_random(3, 4))
    candidates = policy.propose(context)
    kept = policy.score(context, candidates).joint.detach()
    moved(policy)
    with torch.no_grad():
        assert torch.equal(policy.score(context, candidates, params=teacher).joint, kept)
        assert not torch.equal(policy.score(context, candidates).joint, kept)


def test_an_average_of_factors_is_not_the_average_of_products():
    # P9: what a teacher of averaged low-rank factors computes is near, not equal to, the averaged change of weights.
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(8, 64, generator=generator), torch.randn(64, 8, generator=generator)]
    drift = [torch.randn(part.shape, generator=generator) for part in first]
    steps = [[part + 0.3 * share * move for part, move in zip(first, drift, strict=True)] for share in (0.0, 1.0, 2.0)]
    a, b = (sum(step[place] for step in steps) / 3 for place in range(2))
    product = sum(step[1] @ step[0] for step in steps) / 3
    assert 0.01 < ((b @ a - product).norm() / product.norm()) < 0.2
    # Exact where the first factor rests.
    frozen = sum(step[1] @ first[0] for step in steps) / 3
    torch.testing.assert_close(b @ first[0], frozen)


def test_nothing_that_driving_or_learning_calls_wakes_frozen_parameters(policy_of):
    # peft's set_adapter turns gradients on again, for every adapter it names.
    from peft.tuners.lora import LoraLayer

    policy = policy_of().set_trainable("heads")
    layer = next(module for module in policy.modules() if isinstance(module, LoraLayer))
    layer.set_adapter("default")
    assert any(is_low_rank(name) for name in policy.trainable_parameters())
    policy.set_trainable("heads").train().eval()
    frozen = {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
    context = policy.encode(observe_at_random(3, 5))
    candidates = policy.propose(context)
    teacher = {name: p.detach() for name, p in policy.trainable_parameters().items()}
    loss_of(policy, context, candidates).backward()
    policy.score(context, candidates, params=teacher)
    assert {name for name, parameter in policy.named_parameters() if not parameter.requires_grad} == frozen
    assert {name for name, parameter in policy.named_parameters() if parameter.grad is not None} == {
        "trunk.actions.output"
    }


def test_the_vision_tower_learns_in_pretraining_and_rests_afterwards(policy_of):
    policy = policy_of()
    policy.set_trainable("all").train()
    context = policy.encode(observe_at_random(3, 6))
    loss_of(policy, context, policy.listing(context)).backward()
    tower = [p.grad for name, p in policy.named_parameters() if "vision_model" in name and "patch" in name]
    assert tower
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in tower)
    policy.set_trainable("lora")
    assert not any(value.requires_grad for value in policy.encode(observe_at_random(2, 6)).values())


def test_profiles_without_adapters_and_layers_that_are_not_there_are_refused(policy_of):
    with pytest.raises(CraftError, match="lora_rank above 0"):
        policy_of(lora_rank=0).set_trainable("lora")
    with pytest.raises(CraftError, match="the decoder has 3 layers"):
        policy_of(trained_layers=4)
