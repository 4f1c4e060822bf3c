"""What is enumerated in one pass is what the model itself says token by token, in every architecture."""

import copy

import pytest
import torch

from craft_lightning.policies.vision_language import trunk as trunk_module
from craft_lightning.policies.vision_language.architecture import complete_inputs, read_prompt
from craft_lightning.policies.vision_language.branches import packed_mask, sibling_pattern
from craft_lightning.testing.subject import observe_at_random


def teacher_forced(policy, observation, path):
    """[B, P] and [B, V] log-probabilities by two words of plain model output, the ordinary way."""
    trunk, paths = policy.trunk, len(policy.path_table)
    inputs = trunk.inputs(observation)
    word = torch.full((len(observation.ego), 1), policy._tokens[path])
    longer = {
        **inputs,
        "input_ids": torch.cat([inputs["input_ids"], word], 1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(word)], 1),
    }
    if "mm_token_type_ids" in inputs:
        longer["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(word)], 1)
    model = copy.deepcopy(trunk.model)
    model.resize_token_embeddings(max(policy._tokens) + 1)
    with torch.no_grad():
        model.get_input_embeddings().weight[policy._tokens] = trunk.actions.embedding
        hidden = model.model(**complete_inputs(model, longer)).last_hidden_state[:, -2:]
        logits = hidden @ trunk.actions.output.T
    return logits[:, 0, :paths].log_softmax(-1), logits[:, 1, paths:].log_softmax(-1)


@pytest.mark.parametrize("trained_layers", [1, 2])
def test_enumeration_equals_teacher_forcing(policy_of, policy, trained_layers, monkeypatch):
    # In full precision: the rounding of stored contexts is another matter.
    monkeypatch.setattr(trunk_module, "half_rounded", lambda features: features)
    policy = policy_of(architecture=policy.arguments["architecture"], trained_layers=trained_layers)
    _compare(policy)


def test_enumeration_equals_teacher_forcing_where_every_layer_is_trained(policy, policy_of, monkeypatch):
    monkeypatch.setattr(trunk_module, "half_rounded", lambda features: features)
    _compare(policy_of(architecture=policy.arguments["architecture"], trained_layers=0))


def _compare(policy):
    observation = observe_at_random(3, 0)
    with torch.no_grad():
        path, speed = (table.log_softmax(-1) for table in policy.factor_logits(policy.encode(observation)))
    for number in (0, 2, 4):
        wanted_path, wanted_speed = teacher_forced(policy, observation, number)
        torch.testing.assert_close(path, wanted_path, atol=5e-6, rtol=0)
        torch.testing.assert_close(speed[:, number], wanted_speed, atol=5e-6, rtol=0)
    assert path.exp().std(1).min() > 1e-3  # else everything would be equal to everything


@pytest.mark.parametrize("architecture", ["smolvlm", "qwen3_vl"])
def test_profiles_keep_different_depths_of_the_same_numbers(policy_of, architecture):
    policy = policy_of(architecture=architecture)
    observation = observe_at_random(3, 1)
    joints = {}
    with torch.no_grad():
        for profile in ("heads", "lora", "decoder", "all", "none"):
            context = policy.set_trainable(profile).eval().encode(observation)
            joints[profile] = policy.propose(context).log_probs
            # A context says itself how deep it is: another profile can score it.
            again = policy.set_trainable("decoder").propose(context).log_probs
            assert torch.equal(again, joints[profile])
    assert torch.equal(joints["lora"], joints["all"])
    assert torch.equal(joints["heads"], joints["none"])
    valid = joints["heads"] > -20
    torch.testing.assert_close(joints["heads"][valid], joints["lora"][valid], atol=2e-2, rtol=0)


def test_padding_on_the_left_changes_nothing(policy, monkeypatch):
    monkeypatch.setattr(trunk_module, "half_rounded", lambda features: features)
    observation = observe_at_random(3, 2)
    with torch.no_grad():
        short = policy.factor_logits(policy.encode(observation))
        policy.trunk.prompt_length += 9
        longer = policy.factor_logits(policy.encode(observation))
    for one, other in zip(short, longer, strict=True):
        torch.testing.assert_close(one, other, atol=5e-6, rtol=0)


def test_answers_do_not_see_each_other(policy_of, monkeypatch):
    monkeypatch.setattr(trunk_module, "half_rounded", lambda features: features)
    policy = policy_of(trained_layers=0)
    observation = observe_at_random(2, 3)
    with torch.no_grad():
        context = policy.encode(observation)
        before = policy.factor_logits(context)
        policy.trunk.actions.embedding[1] += 1.0
        after = policy.factor_logits(context)
    assert torch.equal(before[0], after[0])
    others = [0, 2, 3, 4]
    assert torch.equal(before[1][:, others], after[1][:, others])
    assert (before[1][:, 1] - after[1][:, 1]).abs().max() > 1e-2


def test_words_get_no_probability(policy_of):
    # Masked before the softmax, where it is drawn and where it is learned from: the softmax never sees a word, so words
    # that become likely move nothing.
    policy = policy_of(architecture="qwen2_5_vl")
    with torch.no_grad():
        context = policy.encode(observe_at_random(3, 4))
        before = policy.propose(context)
        torch.testing.assert_close(before.log_probs.exp().sum(1), torch.ones(3))
        policy.trunk.model.get_output_embeddings().weight.mul_(100.0)
        assert torch.equal(policy.propose(context).log_probs, before.log_probs)
        assert torch.equal(policy.score(context, before).joint, before.log_probs)


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_positions_in_three_dimensions_need_to_know_the_picture(policy_of, architecture):
    # Qwen2.5-VL goes on without mm_token_type_ids, silently with other positions.
    policy = policy_of(architecture=architecture)
    inputs = policy.trunk.inputs(observe_at_random(2, 5))
    told = read_prompt(policy.trunk.model, inputs).positions
    untold = read_prompt(policy.trunk.model, {k: v for k, v in inputs.items() if k != "mm_token_type_ids"}).positions
    assert told.shape[1] == 3
    assert torch.equal(told, untold)
    # Rows and columns of the picture differ, which plain counting would not give.
    assert not torch.equal(told[:, 1], told[:, 2])
    assert (told.amax((1, 2)) < inputs["attention_mask"].sum(1) - 1).all()


def test_a_row_that_sees_nothing_is_finite():
    pattern, depth = sibling_pattern(2, 2)
    assert pattern.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert depth.tolist() == [0, 1, 0, 1]
    mask = packed_mask(torch.tensor([[False, True, True, True, True, True]]), pattern, torch.float32)[0, 0]
    assert torch.isfinite(mask.softmax(-1)).all()
    assert (mask[1:, 0] < -1e30).all()
