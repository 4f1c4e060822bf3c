"""Collisions and times to collision against the procedures written out with shapely, one pair and instant at a time."""

import math

import numpy as np
import pytest
import torch
from shapely import LineString, Polygon

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_NONE, AGENT_STATIC, AGENT_WALKER
from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.counterfactual.scores import Drive, PlannerScorer, ScoreParameters
from craft_lightning.counterfactual.scores.areas import road_areas


def corners(x, y, yaw, half_length, half_width):
    cos, sin = math.cos(yaw), math.sin(yaw)
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return [
        (x + cos * a * half_length - sin * b * half_width, y + sin * a * half_length + cos * b * half_width)
        for a, b in signs
    ]


class Pair:
    """One candidate of one state, in plain numbers."""

    def __init__(self, drive, areas, b, k):
        self.ego = {n: getattr(drive.ego, n)[b, k].double().numpy() for n in ("x", "y", "yaw", "speed")}
        self.tracks = {n: getattr(drive.tracks, n)[b].double().numpy() for n in ("x", "y", "yaw", "speed")}
        self.half, self.halves = drive.half[b].tolist(), drive.half_tracks[b].tolist()
        self.rear, self.kind = float(drive.rear[b]), drive.scene.agent_kind[b].tolist()
        self.areas = {
            n: getattr(areas, n)[b, k].numpy() for n in ("several_lanes", "off_road", "apart", "rear_junction")
        }
        self.instants = len(self.ego["x"])
        self.present = [a for a, kind in enumerate(self.kind) if kind != AGENT_NONE]

    def box(self, t, ahead=0.0):
        metres = ahead * self.ego["speed"][t]
        yaw = self.ego["yaw"][t]
        x, y = self.ego["x"][t] + metres * math.cos(yaw), self.ego["y"][t] + metres * math.sin(yaw)
        return corners(x, y, yaw, *self.half)

    def track(self, a, t, ahead=0.0):
        row = {name: values[a][t] for name, values in self.tracks.items()}
        metres = ahead * row["speed"]
        x, y = row["x"] + metres * math.cos(row["yaw"]), row["y"] + metres * math.sin(row["yaw"])
        return Polygon(corners(x, y, row["yaw"], *self.halves[a]))

    def degrees(self, t, x, y):
        yaw = self.ego["yaw"][t]
        dx = x - self.ego["x"][t] + self.rear * math.cos(yaw)
        dy = y - self.ego["y"][t] + self.rear * math.sin(yaw)
        ahead, left = math.cos(yaw) * dx + math.sin(yaw) * dy, math.cos(yaw) * dy - math.sin(yaw) * dx
        return math.degrees(abs(math.atan2(left, ahead)))

    def meets(self, a, t, then, ahead=0.0, track_ahead=0.0):
        gap = math.hypot(self.tracks["x"][a][then] - self.ego["x"][t], self.tracks["y"][a][then] - self.ego["y"][t])
        moved = ahead * self.ego["speed"][t] + track_ahead * self.tracks["speed"][a][then]
        if gap > math.hypot(*self.half) + math.hypot(*self.halves[a]) + moved:
            return False  # polygons are slow
        return Polygon(self.box(t, ahead)).intersects(self.track(a, then, track_ahead))

    def fault(self, a, t, loose):
        if self.ego["speed"][t] <= 0.05:
            return False
        if self.kind[a] == AGENT_STATIC or self.tracks["speed"][a][t] <= 0.05:
            return True
        if self.degrees(t, self.tracks["x"][a][t], self.tracks["y"][a][t]) > 150.0:
            return False
        box = self.box(t)
        return LineString([box[0], box[3]]).intersects(self.track(a, t)) or loose

    def contacts(self):
        for a in self.present:
            for t in range(self.instants):
                if self.meets(a, t, t):
                    yield a, t
                    break

    def navsim(self):
        score, ttc = 1.0, 1.0
        contacts = dict(self.contacts())
        gone = {a for a, t in contacts.items() if t == 0}
        for a, t in contacts.items():
            loose = self.areas["several_lanes"][t] or self.areas["off_road"][t]
            if a not in gone and self.fault(a, t, loose):
                score = min(score, 0.5 if self.kind[a] == AGENT_STATIC else 0.0)
        for t in range(self.instants - 9):
            for look in (0, 3, 6, 9):
                for a in self.present:
                    if a in gone or self.ego["speed"][t] < 0.005:
                        continue
                    if not self.meets(a, t, t + look, 0.1 * look):
                        continue
                    angle = self.degrees(t, self.tracks["x"][a][t + look], self.tracks["y"][a][t + look])
                    loose = any(self.areas[n][t] for n in ("several_lanes", "off_road", "rear_junction"))
                    if angle < 30.0 or (loose and angle <= 150.0):
                        ttc = 0.0
                    else:
                        gone.add(a)
        return score, ttc

    def nuplan(self):
        contacts = dict(self.contacts())
        guilty = [a for a, t in contacts.items() if self.fault(a, t, self.areas["apart"][t])]
        score = 1.0
        for kinds, allowed in (((AGENT_WALKER, AGENT_CYCLIST), 0), ((1,), 0), ((AGENT_STATIC,), 1)):
            number = sum(self.kind[a] in kinds for a in guilty)
            score *= max(0.0, 1.0 - number / (allowed + 1))
        times = [0.0] if guilty else []
        for t in range(self.instants):
            if self.ego["speed"][t] <= 0.005:
                continue
            for a in self.present:
                if contacts.get(a, self.instants) <= t:
                    continue
                angle = self.degrees(t, self.tracks["x"][a][t], self.tracks["y"][a][t])
                loose = self.areas["apart"][t] or self.areas["rear_junction"][t]
                if not (angle < 30.0 or (loose and angle <= 150.0)):
                    continue
                times += [s / 10 for s in range(1, 10) if self.meets(a, t, t, s / 10, s / 10)]
        return score, float(min(times, default=math.inf) > 0.95)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_scenes(busy_scenes, seed):
    scene, plans, mask, grids = busy_scenes(states=4, candidates=8, agents=8, seed=seed)
    states = CounterfactualWorld(4.0, threads=1).rollout(scene, plans, mask, grids, keep_states=True).states
    drive = Drive.of(scene, states)
    areas = road_areas(drive, grids, ScoreParameters())
    scorer = PlannerScorer()
    ours = scorer.navsim(scene, states, mask, grids), scorer.nuplan(scene, states, mask, grids)
    seen = []
    for b, k in torch.nonzero(mask).tolist():
        pair = Pair(drive, areas, b, k)
        seen.append([*pair.navsim(), *pair.nuplan()])
        found = [
            ours[0]["no_at_fault_collisions"][b, k].item(),
            ours[0]["time_to_collision_within_bound"][b, k].item(),
            ours[1]["no_ego_at_fault_collisions"][b, k].item(),
            ours[1]["time_to_collision_within_bound"][b, k].item(),
        ]
        assert found == seen[-1], (b, k)
    # Every score takes several values, so that agreement says something.
    assert (np.std(seen, axis=0) > 0.1).all()
