"""Adapters against the real modules of released projects, with random weights; skipped without checkouts.

CRAFT_UPSTREAM names a folder of checkouts (SparseDriveV2, GTRS, DiffusionDrive, plant2, lead, carla_garage, simlingo),
and below it ``site`` with what they import beside this project's own dependencies (diffusers, einops, jaxtyping,
beartype).
"""

import dataclasses
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from craft_lightning.adapters import gtrs as gtrs_module
from craft_lightning.adapters.diffusiondrive import DiffusionDrive
from craft_lightning.adapters.gtrs import GTRS
from craft_lightning.adapters.plant2 import PlanT2
from craft_lightning.adapters.simlingo import SimLingo
from craft_lightning.adapters.sparsedrive_navsim import SparseDriveNavsim, log_score
from craft_lightning.adapters.transfuser import TransFuserPlusPlus, TransFuserV6
from torch import nn
from torch.nn import functional

from craft_lightning.policies.released.source import LocalModel
from craft_lightning.policies.released.speed_classes import expected_speed
from craft_lightning.structures import Observation

sys.path.insert(0, str(Path(__file__).parent))
from upstream import checkout, imported

NAVSIM_HOLLOW = (
    "nuplan",
    "navsim.common.dataclasses",
    "navsim.planning",
    "navsim.agents.sparsedrive.scorer",
    "navsim.agents.sparsedrive.ops.deformable_aggregation_ext",
    "navsim.agents.sparsedrive.ops.deformable_aggregation_with_depth_ext",
    "navsim.agents.sparsedrive.sparsedrive_features",
    "navsim.agents.transfuser",
    "navsim.agents.backbones",
)


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch):
    real = timm.create_model

    def create(name, pretrained=False, pretrained_cfg_overlay=None, **arguments):
        return real(name, pretrained=False, **arguments)

    monkeypatch.setattr(timm, "create_model", create)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def states(count: int) -> Observation:
    bev = torch.zeros(count, 6, 96, 96, dtype=torch.uint8)
    ego = torch.tensor([[5.0, 0.0, 0.0, 0.0, 14.0]]).expand(count, -1)
    return Observation(bev=bev, ego=ego, route=torch.zeros(count, 20, 2), batch_size=[count])


def given(policy, inputs):
    policy.observation_inputs = {name: (lambda observation, value=value: value) for name, value in inputs.items()}
    return policy


def driven(policy, count):
    with torch.no_grad():
        context = policy.encode(states(count))
        candidates = policy.propose(context)
        joint = policy.score(context, candidates).joint
    assert torch.equal(joint.exp(), candidates.log_probs.exp())
    assert torch.isfinite(policy.trajectories(candidates)).all()
    return context, candidates


def stirred(model: nn.Module) -> nn.Module:
    """Random weights that are not near zero, so that decisions differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    return model.eval()


def sampling(**values):
    return SimpleNamespace(num_poses=values.pop("num_poses"), **values)


def test_diffusiondrive(tmp_path):
    folder = checkout("DiffusionDrive")
    anchors = np.cumsum(np.random.default_rng(0).random((20, 8, 2)) * [2.0, 0.3], 1)
    np.save(tmp_path / "anchors.npy", anchors)
    with imported([folder], NAVSIM_HOLLOW):
        config = importlib.import_module("navsim.agents.diffusiondrive.transfuser_config").TransfuserConfig()
        config.trajectory_sampling = sampling(num_poses=8)
        config.plan_anchor_path = str(tmp_path / "anchors.npy")
        upstream = importlib.import_module("navsim.agents.diffusiondrive.transfuser_model_v2")
        model = stirred(upstream.V2TransfuserModel(config))
        policy = DiffusionDrive(LocalModel(model))
        inputs = {
            "camera_feature": torch.rand(2, 3, 256, 1024),
            "lidar_feature": torch.rand(2, 1, 256, 256),
            "status_feature": torch.rand(2, 8),
        }
        given(policy, inputs)
        context, _candidates = driven(policy, 2)
        assert context["features"].shape == (2, 20, 256)
        # The rebuilt branch says what the model's own says, and its greedy plan is the model's answer.
        answers = []
        for row in range(2):
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(0)
                answers.append(model({name: value[row : row + 1] for name, value in inputs.items()})["trajectory"])
        answer = torch.cat(answers)
        best = policy.logits(context).argmax(1)
        torch.testing.assert_close(context["plans"][torch.arange(2), best], answer)


def deformable(features, shapes, starts, points, weights):
    """Stands in for the CUDA operator: bilinear samples of every camera and level, weighted in groups and added."""
    levels, groups = len(shapes), weights.shape[-1]
    found = 0
    for level in range(levels):
        height, width = shapes[level].tolist()
        part = features[:, :, int(starts[level]) : int(starts[level]) + height * width]
        maps = part.transpose(2, 3).unflatten(3, (height, width)).flatten(0, 1)
        grid = points.permute(0, 2, 1, 3).flatten(0, 1)[:, :, None] * 2 - 1
        seen = functional.grid_sample(maps, grid, align_corners=False).squeeze(-1)
        seen = seen.unflatten(0, (len(points), -1)).permute(0, 3, 1, 2)
        found = found + (seen.unflatten(-1, (groups, -1)) * weights[:, :, :, level, :, None]).flatten(-2).sum(2)
    return found


def test_sparsedrive_navsim(tmp_path):
    from craft_lightning.testing.stand_ins.sparsedrive import vocabularies

    folder = checkout("SparseDriveV2")
    paths, speeds = 24, 12
    path, speed, plans = (part.numpy() for part in vocabularies(paths, speeds))
    np.save(tmp_path / "path.npy", path)
    np.save(tmp_path / "speed.npy", speed)
    np.savez(tmp_path / "plans.npz", trajectory=plans, trajectory_mask=np.ones(plans.shape[:3]))
    with imported([folder], NAVSIM_HOLLOW):
        config = importlib.import_module("navsim.agents.sparsedrive.sparsedrive_config").SparseDriveConfig()
        config = dataclasses.replace(
            config,
            trajectory_sampling=sampling(num_poses=8),
            path_anchor=str(tmp_path / "path.npy"),
            velocity_anchor=str(tmp_path / "speed.npy"),
            trajectory_anchor=str(tmp_path / "plans.npz"),
            path_filter_num=(16, 6),
            velocity_filter_num=(8, 4),
            use_grid_mask=False,
        )
        blocks = importlib.import_module("navsim.agents.sparsedrive.blocks")
        blocks.DAF = deformable
        decoder = importlib.import_module("navsim.agents.sparsedrive.custom_decoder")
        model = importlib.import_module("navsim.agents.sparsedrive.sparsedrive_model").SparseDriveModel(config)
        stirred(model)
        agent = nn.Module()
        agent._sparsedrive_model = model
        agent.forward = model.forward
        assert decoder is not None
        policy = SparseDriveNavsim(LocalModel(agent), paths=paths, speeds=speeds, kept_paths=6, kept_speeds=4)
        projection = torch.eye(4).expand(2, 3, 4, 4).clone()
        projection[..., 0, 0] = projection[..., 1, 1] = 200.0
        inputs = {
            "camera_feature.imgs": torch.randn(2, 3, 3, 256, 512),
            "camera_feature.projection_mat": projection,
            "camera_feature.image_wh": torch.tensor([512.0, 256.0]).expand(2, 3, 2),
            "status_feature": torch.randn(2, 8),
        }
        given(policy, inputs)
        heads = {}
        for name, head in model._trajectory_head.decoder.layers[1].metric_heads.items():
            head.register_forward_hook(lambda _, __, out, name=name: heads.__setitem__(name, out.squeeze(-1)))
        context, candidates = driven(policy, 2)
        expected = log_score(heads, "v2")
        torch.testing.assert_close(policy.logits(context), expected, atol=5e-3, rtol=5e-3)
        chosen = policy.source._connected.model
        with torch.no_grad():
            nested = {"camera_feature": {name.split(".")[1]: value for name, value in inputs.items() if "." in name}}
            answer = chosen({**nested, "status_feature": inputs["status_feature"]}, None)[0]["trajectory"]
        best = expected.argmax(1)
        torch.testing.assert_close(context["plans"][torch.arange(2), best], answer)
        # Ids name entries of the composed table.
        index = candidates.ids[torch.arange(2), best]
        torch.testing.assert_close(torch.from_numpy(plans)[index[:, 0], index[:, 1]], answer)


def test_gtrs(tmp_path):
    from craft_lightning.testing.tiny import random_vocabulary

    folder = checkout("GTRS")
    np.save(tmp_path / "vocabulary.npy", random_vocabulary(48).trajectories.numpy())
    with imported([folder], NAVSIM_HOLLOW):
        hydra = importlib.import_module("navsim.agents.gtrs_dense.hydra_model")
        config = importlib.import_module("navsim.agents.gtrs_dense.hydra_config").HydraConfig()
        config.normalize_vocab_pos = True
        model = nn.Module()
        model._trajectory_head = stirred(
            hydra.HydraTrajHead(40, 1024, 256, str(tmp_path / "vocabulary.npy"), 8, 3, config)
        )
        keys, status = torch.randn(2, 64, 256), torch.randn(2, 256)
        model.forward = lambda features: model._trajectory_head(keys, status)
        policy = GTRS(LocalModel(model), size=48)
        given(policy, {"camera_feature": torch.zeros(2, 1), "status_feature.0": torch.zeros(2, 8)})
        context, _candidates = driven(policy, 2)
        with torch.no_grad():
            answer = model._trajectory_head(keys, status)
        found = policy.logits(context)
        torch.testing.assert_close(
            found, gtrs_module.FORMULA.score({**answer, "imitation": answer["imi"]}), atol=2e-2, rtol=2e-3
        )
        assert torch.equal(found.argmax(1), answer["selected_indices"])


class _Config(dict):
    """A mapping that is read by attributes too, as OmegaConf's."""

    def __getattr__(self, name):
        value = self[name]
        return _Config(value) if isinstance(value, dict) else value


@pytest.mark.parametrize("representation", ["path+wps", "path+2hot"])
def test_plant2(monkeypatch, representation):
    import transformers
    import yaml

    folder = checkout("plant2") / "PlanT"
    bert = transformers.BertConfig(
        hidden_size=512, num_hidden_layers=2, num_attention_heads=8, intermediate_size=256, vocab_size=8
    )
    bert._attn_implementation = "eager"
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda name: bert)
    model_config = yaml.safe_load((folder / "config" / "model" / "PlanT.yaml").read_text())
    model_config["waypoints"]["representation"] = representation
    with imported([folder], ()):
        upstream = importlib.import_module("model")
        config = _Config({"model": model_config})
        model = upstream.HFLM(config.model.network, config)
        stirred(model)
        policy = PlanT2(LocalModel(model), representation=representation)
        objects = torch.cat([torch.zeros(1, 7), torch.cat([torch.ones(5, 1), torch.randn(5, 6)], 1)])
        inputs = {
            "x_objs": objects,
            "idxs": torch.tensor([[1, 2, 3], [4, 5, 0]], dtype=torch.int32),
            "route_original": torch.randn(2, 20, 2),
            "speed_limit": torch.tensor([0, 1], dtype=torch.int32),
            "BEV": torch.rand(2, 3, 64, 64),
        }
        given(policy, inputs)
        context, _candidates = driven(policy, 2)
        with torch.no_grad():
            path, waypoints, speed = model({**inputs, "y_objs": None})[2]
        assert path.shape == (2, 20, 2)
        torch.testing.assert_close(context["path"], path * torch.tensor([1.0, -1.0]))
        if representation == "path+2hot":
            classes = policy.get_buffer("choices")
            torch.testing.assert_close(policy.speed_classifier(context["feature"].float()), speed, atol=5e-3, rtol=5e-3)
            wanted = (speed.softmax(-1) * classes).sum(-1)
        else:
            assert waypoints.shape == (2, 8, 2)
            wanted = 4.0 * (waypoints[:, 2] - waypoints[:, 3]).norm(dim=-1)
        reached = (context["distance"][:, 0, -1] - context["distance"][:, 0, -2]) / 0.1
        torch.testing.assert_close(reached, wanted, atol=2e-2, rtol=2e-2)


def test_tfv6():
    folder = checkout("lead")
    hollow = ("agents", "omegaconf", "carla", "shapely", "wandb")
    with imported([folder], hollow):
        decoder = importlib.import_module("lead.training.tfv6.planning_decoder")
        values = {
            "predict_spatial_path": True,
            "num_route_points_prediction": 10,
            "predict_temporal_spatial_waypoints": True,
            "num_way_points_prediction": 8,
            "predict_target_speed": True,
            "transfuser_token_dim": 256,
            "transfuser_num_bev_cross_attention_heads": 8,
            "transfuser_num_bev_cross_attention_layers": 2,
            "use_navsim_data": False,
            "target_speed_classes": [0.0, 4.0, 8.0, 10.0, 13.88888888, 16.0, 17.77777777, 20.0],
            "target_points_normalization_constants": [[200.0, 50.0]],
            "torch_float_type": torch.float32,
            "use_velocity": True,
            "use_acceleration": False,
            "use_discrete_command": True,
            "discrete_command_dim": 6,
            "use_tp": True,
            "use_previous_tp": True,
            "use_next_tp": True,
            "use_past_positions": False,
            "use_past_speeds": False,
            "use_radars": False,
            "radar_detection": False,
            "use_radar_detection": False,
            "max_speed": 25.0,
        }
        # Their configuration reads files and command lines; its type is checked, so it is a subclass without them.
        training = importlib.import_module("lead.training.config_training").TrainingConfig
        config = object.__new__(type("Config", (training,), {**values, "__init__": lambda self: None}))
        model = nn.Module()
        model.planning_decoder = stirred(
            decoder.PlanningDecoder(input_bev_channels=64, config=config, device=torch.device("cpu"))
        )
        features = torch.randn(2, 64, 8, 8)
        answers = []

        def forward(data):
            answers.append(model.planning_decoder(features, None, None, data, {}))
            return answers[-1]

        model.forward = forward
        policy = TransFuserV6(LocalModel(model))
        inputs = {
            name: torch.rand(2, 2) * 20 for name in ("target_point", "target_point_next", "target_point_previous")
        }
        inputs |= {
            "speed": torch.rand(2) * 10,
            "command": torch.eye(6)[:2],
            "rgb": features,
            "rasterized_lidar": features,
        }
        given(policy, inputs)
        context, _candidates = driven(policy, 2)
        route, _waypoints, classes, scalar, _ = answers[-1]
        assert route.shape == (2, 10, 2)
        torch.testing.assert_close(context["path"], route * torch.tensor([1.0, -1.0]))
        torch.testing.assert_close(policy.speed_head(context["feature"].float()), classes, atol=5e-3, rtol=5e-3)
        reached = (context["distance"][:, 0, -1] - context["distance"][:, 0, -2]) / 0.1
        torch.testing.assert_close(reached, scalar, atol=2e-2, rtol=2e-2)


def test_simlingo():
    folder = checkout("simlingo")
    with imported([folder], ("simlingo_training.utils",)):
        upstream = importlib.import_module("simlingo_training.models.adaptors.adaptors")
        model = nn.Module()
        model.adaptors = nn.Module()
        model.adaptors.driving = stirred(upstream.DrivingAdaptor(64, predict_route_as_wps=True, speed_wps_mode="2d"))
        hidden = 3.0 * torch.randn(2, 30, 64)

        def forward(data):
            found = model.adaptors.driving.get_predictions(hidden)
            return found["speed_wps"], found["route"], ["", ""]

        model.forward = forward
        policy = SimLingo(LocalModel(model), width=64)
        given(policy, {item.name: torch.zeros(2, 1) for item in policy.card.inputs})
        context, candidates = driven(policy, 2)
        speed, route, _ = forward(None)
        assert speed.shape == (2, 10, 2)
        torch.testing.assert_close(context["path"], route * torch.tensor([1.0, -1.0]))
        torch.testing.assert_close(context["feature"].float(), hidden[:, :20].mean(1), atol=1e-2, rtol=1e-2)
        # The released plan drives the way between the waypoints in their time.
        first = speed[:, 0].norm(dim=-1) / 0.25
        torch.testing.assert_close(context["distance"][:, 0, 0] / 0.1, first, atol=1e-3, rtol=1e-3)
        assert torch.equal(policy.act(candidates, greedy=True)[1], candidates.trajectories[:, 0])


def test_transfuser_plus_plus():
    folder = checkout("carla_garage") / "team_code"
    hollow = ("aim", "bev_encoder", "video_swin_transformer", "video_resnet", "data")
    with imported([folder], hollow):
        config = importlib.import_module("config").GlobalConfig()
        config.image_architecture = config.lidar_architecture = "resnet18"
        for name in ("use_semantic", "use_depth", "use_bev_semantic", "detect_boxes"):
            setattr(config, name, False)
        model = stirred(importlib.import_module("model").LidarCenterNet(config))
        policy = TransFuserPlusPlus(LocalModel(model), speeds=tuple(config.target_speeds))
        size = (1, config.lidar_resolution_height, config.lidar_resolution_width)
        inputs = {
            "0": 255 * torch.rand(2, 3, config.camera_height, config.camera_width),
            "1": torch.rand(2, *size),
            "2": torch.tensor([[10.0, 1.0], [20.0, -3.0]]),
            "3": torch.tensor([[3.0], [6.0]]),
            "4": torch.eye(6)[:2],
        }
        given(policy, inputs)
        context, _ = driven(policy, 2)
        with torch.no_grad():
            _, classes, path, *_ = model(*inputs.values())
        torch.testing.assert_close(context["path"], path * torch.tensor([1.0, -1.0]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(policy.speed_head(context["feature"].float()), classes, atol=5e-3, rtol=5e-3)
        wanted = expected_speed(classes, torch.tensor(config.target_speeds), 0.5)
        reached = (context["distance"][:, 0, -1] - context["distance"][:, 0, -2]) / 0.1
        torch.testing.assert_close(reached, wanted, atol=2e-2, rtol=2e-2)
