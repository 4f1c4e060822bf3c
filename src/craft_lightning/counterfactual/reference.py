"""The counterfactual world in vectorised torch: the oracle of the kernels and the named reference of the benchmark.

Written apart from the kernels, from the same definitions. Python loops over time steps alone (and over towns, whose
grids differ in size); states, candidates and agents are axes of tensors. Reviewed for speed: what does not feed back
into the motion is computed for all steps at once; pairs of candidate and agent whose swept bounds never meet are
dropped before the separating axis; no intermediate has both an agent and a time axis for all candidates. Works in the
floating type of ``trajectories``, so that the oracle can be run in double precision. Equation numbers are those of
arXiv 2605.04470.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from craft_lightning.control import BicycleParameters, TrackerParameters
from craft_lightning.conventions import (
    AGENT_CYCLIST,
    AGENT_NONE,
    AGENT_VEHICLE,
    AGENT_WALKER,
    LINE_RED,
    LINE_STOP_SIGN,
    TRACKER_SECONDS,
)
from craft_lightning.counterfactual.parameters import DecayParameters, RewardParameters
from craft_lightning.counterfactual.rollout import Rollout
from craft_lightning.geometry import arc_length, separating_axis
from craft_lightning.structures import Scene


class WorldSettings(Protocol):
    """What the reference reads of a ``CounterfactualWorld``."""

    steps: int
    reward: RewardParameters
    tracker: TrackerParameters
    bicycle: BicycleParameters
    others: DecayParameters


@dataclasses.dataclass
class Motion:
    """Poses of one kind of thing: x, y, cosine, sine, speed, yaw."""

    x: Tensor
    y: Tensor
    cos: Tensor
    sin: Tensor
    speed: Tensor
    yaw: Tensor


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index[..., None])[..., 0]


def follow_plans(
    plans: Tensor, speed: Tensor, wheelbase: Tensor, steps: int, tracker: TrackerParameters, bicycle: BicycleParameters
) -> Motion:
    """Track plans [B or 1, K, T, 3] from the origin at ``speed`` [B, 1]: [B, K, steps + 1], now included."""
    dt = TRACKER_SECONDS
    batch, count = speed.shape[0], plans.shape[1]
    plans = torch.cat([torch.zeros_like(plans[:, :, :1]), plans], dim=2)
    last = plans.shape[2] - 1
    arc = arc_length(plans)
    shape = (batch, count, last + 1)
    px, py = plans[..., 0].contiguous().expand(shape), plans[..., 1].contiguous().expand(shape)
    arc = arc.expand(shape)
    end_cos, end_sin = plans[..., -1, 2].cos(), plans[..., -1, 2].sin()
    end_x, end_y, end_arc = px[..., -1], py[..., -1], arc[..., -1]
    # Mean speed of the next half second at every step.
    window = max(min(int(tracker.speed_window / dt + 0.5), last), 1)
    first = torch.arange(steps).clamp(max=max(last - window, 0))
    desired_all = (arc[..., (first + window).clamp(max=last)] - arc[..., first]) / (window * dt)

    # Scratch: x, y, yaw, speed after every step.
    history = plans.new_zeros(4, steps + 1, batch, count)
    x, y, yaw = (plans.new_zeros(batch, count) for _ in range(3))
    v = speed.clamp(min=0.0).expand(batch, count)
    history[3, 0] = v
    cos_yaw, sin_yaw = torch.ones_like(x), torch.zeros_like(x)
    segment = torch.zeros(batch, count, dtype=torch.int64)
    turn_errors = plans.new_zeros(tracker.window, batch, count)
    speed_errors = plans.new_zeros(tracker.window, batch, count)
    turn_sum, speed_sum = torch.zeros_like(x), torch.zeros_like(x)
    half_pi = 0.5 * torch.pi
    # A zero-length step or one that the vehicle has passed is left behind; several may be passed in one step.
    step_x, step_y, step_length = px.diff(dim=-1), py.diff(dim=-1), arc.diff(dim=-1)
    index = torch.arange(last)
    for step in range(steps):
        reached = (x[..., None] - px[..., 1:]) * step_x + (y[..., None] - py[..., 1:]) * step_y >= 0.0
        open_end = ~(reached | (step_length <= 1e-4)) & (index >= segment[..., None])
        any_open = open_end.any(-1)
        segment = torch.where(any_open, open_end.int().argmax(-1), last)
        inside = segment.clamp(max=last - 1)
        length = _pick(step_length, inside)
        ax, ay, bx, by = _pick(px, inside), _pick(py, inside), _pick(step_x, inside), _pick(step_y, inside)
        along = (((x - ax) * bx + (y - ay) * by) / length.clamp(min=1e-9)).clamp(min=0.0)
        beyond = ((x - end_x) * end_cos + (y - end_y) * end_sin).clamp(min=0.0)
        travelled = torch.where(any_open, _pick(arc, inside) + along, end_arc + beyond)
        ahead = (tracker.aim_gain * v + tracker.aim_offset).clamp(tracker.aim_min, tracker.aim_max)
        target = travelled + ahead
        # The last pose whose arc length is not beyond the target.
        at = (torch.searchsorted(arc.contiguous(), target[..., None], right=True)[..., 0] - 1).clamp(max=last)
        at = torch.maximum(at, segment)
        piece = at.clamp(max=last - 1)
        rest = target - _pick(arc, piece)
        share = rest / _pick(step_length, piece).clamp(min=1e-9)
        past = at >= last
        over = target - end_arc
        aim_x = torch.where(past, end_x + over * end_cos, _pick(px, piece) + share * _pick(step_x, piece))
        aim_y = torch.where(past, end_y + over * end_sin, _pick(py, piece) + share * _pick(step_y, piece))
        dx, dy = aim_x - x, aim_y - y
        error = torch.atan2(cos_yaw * dy - sin_yaw * dx, cos_yaw * dx + sin_yaw * dy) / half_pi

        slot = step % tracker.window
        turn_sum = turn_sum + error - turn_errors[slot]
        turn = tracker.turn_kp * error + tracker.turn_ki / tracker.window * turn_sum
        turn = turn + tracker.turn_kd * (error - turn_errors[slot - 1])
        turn_errors[slot] = error
        desired = desired_all[..., step]
        delta = (desired - v).clamp(0.0, tracker.clip_delta)
        speed_sum = speed_sum + delta - speed_errors[slot]
        push = tracker.speed_kp * delta + tracker.speed_ki / tracker.window * speed_sum
        push = push + tracker.speed_kd * (delta - speed_errors[slot - 1])
        speed_errors[slot] = delta
        braking = (desired < tracker.brake_speed) | (v > tracker.brake_ratio * desired)
        pedal = push.clamp(0.0, tracker.max_throttle) * bicycle.throttle_acceleration
        acceleration = torch.where(braking, -bicycle.brake_deceleration, pedal) - bicycle.drag * v

        faster = (v + acceleration * dt).clamp(min=0.0)
        mean = 0.5 * (v + faster)
        half_tan = 0.5 * torch.tan(turn.clamp(-1.0, 1.0) * bicycle.max_steer)
        cos_slip = (1.0 + half_tan.square()).rsqrt()
        sin_slip = half_tan * cos_slip
        limit = bicycle.max_lateral_acceleration / mean.clamp(min=0.1)
        turned = torch.minimum(torch.maximum(mean * 2.0 * sin_slip / wheelbase, -limit), limit) * dt
        middle = yaw + 0.5 * turned
        cos_middle, sin_middle = middle.cos(), middle.sin()
        x = x + mean * dt * (cos_middle * cos_slip - sin_middle * sin_slip)
        y = y + mean * dt * (sin_middle * cos_slip + cos_middle * sin_slip)
        yaw, v = yaw + turned, faster
        cos_yaw, sin_yaw = yaw.cos(), yaw.sin()
        history[0, step + 1], history[1, step + 1], history[2, step + 1], history[3, step + 1] = x, y, yaw, v
    x, y, yaw, v = history.permute(0, 2, 3, 1).contiguous()
    return Motion(x, y, yaw.cos(), yaw.sin(), v, yaw)


def decay_rollout(scene: Scene, steps: int, p: DecayParameters, dtype: torch.dtype) -> Motion:
    """Roll the others out without reacting to anybody, [B, A, steps]."""
    dt = TRACKER_SECONDS
    x, y, yaw, speed, length, _, acceleration, yaw_rate = scene.agents.to(dtype).unbind(-1)
    vehicle = scene.agent_kind == AGENT_VEHICLE
    steady = (scene.agent_kind == AGENT_WALKER) | (scene.agent_kind == AGENT_CYCLIST)
    direction = torch.where(speed < 0.0, -1.0, 1.0).to(dtype)
    acceleration = (direction * acceleration).clamp(-2.0 * p.max_acceleration, p.max_acceleration)
    ramp = torch.where(scene.agent_junction, p.ramp_junction, p.ramp).to(dtype)
    turning = vehicle & (speed.abs() > p.min_curvature_speed)
    curvature = (yaw_rate / torch.where(turning, speed, 1.0)).clamp(-p.max_curvature, p.max_curvature) * turning
    sin_slip = 0.5 * curvature * p.wheelbase_share * length
    cos_slip = (1.0 - sin_slip.square()).clamp(min=0.0).sqrt()
    v = torch.where(vehicle | steady, speed.abs(), 0.0)
    push, brake = acceleration.clamp(min=0.0), (-acceleration).clamp(min=0.0)
    history = x.new_zeros(4, steps, *x.shape)
    for step in range(steps):
        fade = (((step + 0.5) * dt - p.hold) / ramp).clamp(0.0, 1.0)
        change = push * (1.0 - fade) - brake - fade * (p.brake - brake).clamp(min=0.0)
        faster = torch.where(vehicle, (v + change * dt).clamp(min=0.0), v)
        distance = direction * 0.5 * (v + faster) * dt
        middle = yaw + 0.5 * curvature * distance
        cos, sin = middle.cos(), middle.sin()
        x = x + distance * (cos * cos_slip - sin * sin_slip)
        y = y + distance * (sin * cos_slip + cos * sin_slip)
        yaw, v = yaw + curvature * distance, faster
        history[0, step], history[1, step], history[2, step], history[3, step] = x, y, yaw, v
    x, y, yaw, v = history.permute(0, 2, 3, 1).contiguous()
    return Motion(x, y, yaw.cos(), yaw.sin(), v, yaw)


def first_collisions(ego: Motion, size: Tensor, others: Motion, scene: Scene) -> Tensor:
    """First step at which each candidate's box overlaps another's, ``steps`` if it never does: [B, K]."""
    steps = others.x.shape[-1]
    dtype = ego.x.dtype
    ex, ey = ego.x[..., 1:], ego.y[..., 1:]
    half = 0.5 * size[:, :2]
    half_agents = 0.5 * scene.agents[..., 4:6].to(dtype)
    own = half.norm(dim=-1)[:, None, None]
    reach = own + half_agents.norm(dim=-1)[:, None, :]  # [B, 1, A]
    low_x, high_x = ex.amin(-1)[..., None] - reach, ex.amax(-1)[..., None] + reach
    low_y, high_y = ey.amin(-1)[..., None] - reach, ey.amax(-1)[..., None] + reach
    near = (others.x.amax(-1)[:, None] > low_x) & (others.x.amin(-1)[:, None] < high_x)
    near &= (others.y.amax(-1)[:, None] > low_y) & (others.y.amin(-1)[:, None] < high_y)
    near &= (scene.agent_kind != AGENT_NONE)[:, None]
    state, candidate, agent = torch.nonzero(near, as_tuple=True)  # P pairs
    dx = others.x[state, agent] - ex[state, candidate]
    dy = others.y[state, agent] - ey[state, candidate]
    pair, step = torch.nonzero(dx * dx + dy * dy < reach[state, 0, agent].square()[:, None], as_tuple=True)
    state, candidate, agent = state[pair], candidate[pair], agent[pair]
    hit = separating_axis(
        dx[pair, step],
        dy[pair, step],
        ego.cos[state, candidate, step + 1],
        ego.sin[state, candidate, step + 1],
        others.cos[state, agent, step],
        others.sin[state, agent, step],
        half[state, 0],
        half[state, 1],
        half_agents[state, agent, 0],
        half_agents[state, agent, 1],
    )
    first = torch.full(ego.x.shape[:2], steps, dtype=torch.int64)
    flat = state[hit] * first.shape[1] + candidate[hit]
    first.view(-1).scatter_reduce_(0, flat, step[hit], "amin")
    return first


def crossed_lines(ego: Motion, size: Tensor, scene: Scene, p: RewardParameters) -> tuple[Tensor, Tensor]:
    """First steps of crossing a red line and an unhonoured stop line, ``steps`` if never: two [B, K]."""
    steps = ego.x.shape[-1] - 1
    used = int((scene.stop_kind != 0).any(0).nonzero().max()) + 1 if bool((scene.stop_kind != 0).any()) else 0
    never = torch.full(ego.x.shape[:2], steps, dtype=torch.int64)
    if used == 0:
        return never, never
    half = 0.5 * size[:, 0, None, None]
    bx, by = ego.x + half * ego.cos, ego.y + half * ego.sin
    kind = scene.stop_kind[:, :used, None, None]
    x0, y0, x1, y1 = scene.stop_lines[:, :used, None, None].to(bx.dtype).unbind(-1)  # [B, L, 1, 1]
    lx, ly = x1 - x0, y1 - y0
    px, py, cos, sin = bx[:, None], by[:, None], ego.cos[:, None], ego.sin[:, None]
    side = lx * (py - y0) - ly * (px - x0)  # [B, L, K, steps + 1]
    share = side[..., :-1] / (side[..., :-1] - side[..., 1:])
    qx, qy = px[..., :-1] + share * px.diff(dim=-1), py[..., :-1] + share * py.diff(dim=-1)
    along = lx * (qx - x0) + ly * (qy - y0)
    crossing = ((side[..., :-1] < 0.0) != (side[..., 1:] < 0.0)) & (along >= 0.0) & (along <= lx * lx + ly * ly)

    turn = lx * sin - ly * cos
    reach = -side / torch.where(turn.abs() < 1e-6, 1.0, turn)
    along = lx * (px + reach * cos - x0) + ly * (py + reach * sin - y0)
    aimed = (turn.abs() >= 1e-6) & (along >= 0.0) & (along <= lx * lx + ly * ly)
    standing = aimed & (reach >= 0.0) & (reach <= p.stop_zone) & (ego.speed < p.stop_speed)[:, None]
    honoured = standing[..., :-1].int().cummax(-1).values.bool()

    def first(event: Tensor) -> Tensor:
        event = event.any(1)
        return torch.where(event.any(-1), event.int().argmax(-1), steps)

    return first(crossing & (kind == LINE_RED)), first(crossing & (kind == LINE_STOP_SIGN) & ~honoured)


def route_progress(ego: Motion, route: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arc length (monotone), offset and heading error to the route [B, R, 2] at every pose, three [B, K, steps + 1]."""
    window, start_window = 8, 30
    step_x, step_y = route[..., 0].diff(dim=-1), route[..., 1].diff(dim=-1)
    length = torch.hypot(step_x, step_y)
    cos, sin = step_x / length.clamp(min=1e-9), step_y / length.clamp(min=1e-9)
    x0, y0 = route[:, :-1, 0], route[:, :-1, 1]
    s0 = length.cumsum(-1) - length
    real = length > 1e-3
    places = torch.arange(real.shape[1], device=route.device)
    last = torch.where(real, places, 0).amax(-1, keepdim=True)
    # Where the ego stands now: the nearest of the first metres.
    head = slice(0, start_window)
    along = (-x0 * cos - y0 * sin)[:, head].clamp(min=0.0)
    along = torch.where(places[: along.shape[1]] < last, torch.minimum(along, length[:, head]), along)
    offset = torch.hypot(x0[:, head] + along * cos[:, head], y0[:, head] + along * sin[:, head])
    offset = torch.where(real[:, head], offset, torch.inf)
    segment = offset.argmin(-1)[:, None].expand(ego.x.shape[:2])

    segments = []
    hops = torch.arange(window + 1, device=route.device)
    table = torch.stack([x0, y0, cos, sin, length], dim=-1)
    rows = torch.arange(table.shape[0], device=route.device)[:, None, None]
    for step in range(ego.x.shape[-1]):
        ahead = torch.minimum(segment[..., None] + hops, last[:, None])
        ax, ay, c, s, span = table[rows, ahead].unbind(-1)
        reached = (ego.x[..., step, None] - ax) * c + (ego.y[..., step, None] - ay) * s >= span
        stop = (~reached).int()
        stop[..., -1] = 1
        segment = _pick(ahead, stop.argmax(-1))
        segments.append(segment)
    index = torch.stack(segments, dim=-1)
    ax, ay, c, s, span = table[rows, index].unbind(-1)
    along = ((ego.x - ax) * c + (ego.y - ay) * s).clamp(min=0.0)
    along = torch.where(index < last[:, None], torch.minimum(along, span), along)
    arc = (s0[rows, index] + along).cummax(-1).values
    offset = torch.hypot(ego.x - ax - along * c, ego.y - ay - along * s)
    error = torch.atan2(ego.cos * s - ego.sin * c, ego.cos * c + ego.sin * s).abs()
    return arc, offset, error


@dataclasses.dataclass
class Road:
    """Where every pose stands: [B, K, steps + 1] distance to the nearest lane's centre and four flags."""

    lane_offset: Tensor
    outside: Tensor
    opposite: Tensor
    emergency: Tensor
    foreign: Tensor


def bilinear(grid: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Value of grid [H, W] between cell centres, -10 outside."""
    height, width = grid.shape
    inside = (column >= 0.0) & (row >= 0.0) & (column < width - 1) & (row < height - 1)
    j = column.clamp(0.0, width - 2).floor()
    i = row.clamp(0.0, height - 2).floor()
    u, v = column - j, row - i
    flat, at = grid.reshape(-1), (i.long() * width + j.long())
    low = flat[at] + u * (flat[at + 1] - flat[at])
    high = flat[at + width] + u * (flat[at + width + 1] - flat[at + width])
    return torch.where(inside, low + v * (high - low), -10.0)


def look_up(ego: Motion, size: Tensor, frame: Tensor, lanes: Tensor, grid: Any, p: RewardParameters) -> Road:
    """Look every pose up in one RoadGrid; ``frame`` [B, 4] is that of ``grids.grid_frames``."""
    dtype = ego.x.dtype
    ox, oy, oc, os = (value[:, None, None] for value in frame.unbind(-1))
    x, y = ox + oc * ego.x - os * ego.y, oy + os * ego.x + oc * ego.y
    cos, sin = oc * ego.cos - os * ego.sin, os * ego.cos + oc * ego.sin
    per_cell = 1.0 / float(grid.resolution)
    sdf = torch.as_tensor(np.asarray(grid.sdf)).to(dtype)
    nearest = torch.as_tensor(np.asarray(grid.nearest))
    half_length, half_width = 0.5 * size[:, 0, None, None] * per_cell, 0.5 * size[:, 1, None, None] * per_cell
    lx, ly, wx, wy = half_length * cos, half_length * sin, -half_width * sin, half_width * cos
    column, row = x * per_cell, y * per_cell
    corner_columns = torch.stack([column + lx + wx, column + lx - wx, column - lx + wx, column - lx - wx])
    corner_rows = torch.stack([row + ly + wy, row + ly - wy, row - ly + wy, row - ly - wy])
    outside = (bilinear(sdf, corner_columns, corner_rows) < -p.offroad_tolerance).any(0)

    height, width = nearest.shape
    j, i = (column + 0.5).floor(), (row + 0.5).floor()
    inside = (j >= 0) & (i >= 0) & (j < width) & (i < height)
    at = i.clamp(0, height - 1).long() * width + j.clamp(0, width - 1).long()
    near = torch.where(inside, nearest.reshape(-1)[at], -1)
    known = near >= 0
    near = near.clamp(min=0).long()
    x0, y0, c, s = torch.as_tensor(np.asarray(grid.segments)).to(dtype)[near].unbind(-1)
    offset = torch.where(known, ((y - y0) * c - (x - x0) * s).abs(), torch.inf)
    lane = torch.as_tensor(np.asarray(grid.segment_lane))[near].long()
    kind = torch.as_tensor(np.asarray(grid.lane_kind))[lane]
    free = known & (torch.as_tensor(np.asarray(grid.lane_junction))[lane] == 0)
    opposite = free & (cos * c + sin * s < float(np.cos(p.opposite_angle)))
    restricted = (lanes >= 0).any(-1)[:, None, None]
    # A table of permitted lanes instead of comparing every pose with every lane of the route.
    permitted = torch.zeros(len(lanes), len(grid.lane_kind) + 1, dtype=torch.bool)
    permitted.scatter_(1, torch.where(lanes >= 0, lanes, len(grid.lane_kind)), True)
    legal = permitted[torch.arange(len(lanes))[:, None, None], lane]
    foreign = free & (kind == 1) & restricted & ~legal
    return Road(offset, outside, opposite, known & (kind == 2), foreign)


def rollout(
    world: WorldSettings,
    scene: Scene,
    trajectories: Tensor,
    mask: Tensor,
    grids: Sequence[Any],
    keep_rewards: bool,
    others: Tensor | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Score all candidates of all states; arguments and answer as in ``CounterfactualWorld.rollout``."""
    dtype, steps = trajectories.dtype, world.steps
    scene, trajectories, valid = scene.to("cpu"), trajectories.cpu(), mask.cpu()
    # Padding may hold anything; the ego then stands instead.
    if not bool(valid.all()):
        trajectories = torch.where(valid[..., None, None], trajectories, torch.zeros((), dtype=dtype))
    size = scene.ego_size.to(dtype)
    speed = scene.ego_motion[:, :1].to(dtype)
    ego = follow_plans(trajectories, speed, size[:, 2:3], steps, world.tracker, world.bicycle)
    moved = decay_rollout(scene, steps, world.others, dtype) if others is None else _given(others.cpu().to(dtype))
    events = Events(first_collisions(ego, size, moved, scene), *crossed_lines(ego, size, scene, world.reward))
    answer = assess(world, scene, ego, events, mask, grids, keep_rewards)
    if keep_states:
        answer.states = _states(ego, valid).to(mask.device)
    return answer


def _states(ego: Motion, valid: Tensor) -> Tensor:
    """x, y, yaw and speed [B, K, steps + 1, 4], 0 where a candidate is masked."""
    return torch.stack([ego.x, ego.y, ego.yaw, ego.speed], dim=-1) * valid[..., None, None]


def _given(others: Tensor) -> Motion:
    """Return poses [B, A, steps, 4] as a motion; nobody asks for the speeds of others."""
    x, y, cos, sin = others.unbind(-1)
    return Motion(x, y, cos, sin, torch.zeros_like(x), torch.atan2(sin, cos))


@dataclasses.dataclass
class Events:
    """When what is charged once happened: first steps [B, K], the number of steps where it never did."""

    collision: Tensor
    red_light: Tensor
    stop_sign: Tensor


def assess(
    world: WorldSettings,
    scene: Scene,
    ego: Motion,
    events: Events,
    mask: Tensor,
    grids: Sequence[Any],
    keep_rewards: bool = False,
) -> Rollout:
    """Give motions of the ego their reward, whether they were rolled out here or really driven.

    Args:
        world: its ``reward`` is given.
        scene: the B visited states, on the CPU.
        ego: [B, K, steps + 1] in the ego frame of the visited states, now included.
        events: when the ego collided and broke the law.
        mask: [B, K] bool; False entries get 0.
        grids: ``RoadGrid`` of every town index in the scene.
        keep_rewards: fill ``Rollout.rewards`` as well.

    """
    device, valid, p = mask.device, mask.cpu(), world.reward
    steps, dtype = ego.x.shape[-1] - 1, ego.x.dtype
    collided, red, stop = events.collision, events.red_light, events.stop_sign
    size = scene.ego_size.to(dtype)
    arc, offset, error = route_progress(ego, scene.route.to(dtype))

    origins = torch.as_tensor(np.stack([np.asarray(grid.origin, np.float64) for grid in grids]))[scene.town]
    frame = torch.cat([scene.ego_pose[:, :2] - origins, scene.ego_pose[:, 2:].cos(), scene.ego_pose[:, 2:].sin()], -1)
    frame = frame.to(dtype)
    towns = torch.unique(scene.town)
    if len(towns) == 1:
        road = look_up(ego, size, frame, scene.route_lanes, grids[int(towns[0])], p)
    else:
        road = Road(torch.zeros_like(ego.x), *(torch.zeros(ego.x.shape, dtype=torch.bool) for _ in range(4)))
        for town in towns:
            rows = torch.nonzero(scene.town == town)[:, 0]
            part = Motion(*(getattr(ego, field.name)[rows] for field in dataclasses.fields(Motion)))
            found = look_up(part, size[rows], frame[rows], scene.route_lanes[rows], grids[int(town)], p)
            for field in dataclasses.fields(Road):
                getattr(road, field.name)[rows] = getattr(found, field.name)

    d_g = (offset / p.route_scale).clamp(max=1.0)
    d_c = (road.lane_offset / p.lane_scale).clamp(max=1.0)
    d_h = (error / p.heading_scale).clamp(max=1.0)
    gained = arc.diff(dim=-1)
    share = gained.clamp(0.0, p.progress_clip) / p.progress_clip  # (40)
    exponent = p.route_decay * d_g + p.lane_decay * d_c + p.heading_decay * d_h
    eta = torch.exp(-exponent[..., 1:])  # (41)

    def recovering(d: Tensor, weight: float) -> Tensor:
        change = d.diff(dim=-1).clamp(-p.recovery_step_clip, p.recovery_step_clip)
        return torch.where(d[..., 1:] > p.recovery_deadband, -weight * change, 0.0)

    c = recovering(d_g, p.recovery_route) + recovering(d_c, p.recovery_lane) + recovering(d_h, p.recovery_heading)
    c = c.clamp(-p.recovery_clip, p.recovery_clip)  # (42)
    off_route = ((offset > p.offroute_distance) | road.foreign)[..., 1:]
    outside, opposite, emergency = road.outside[..., 1:], road.opposite[..., 1:], road.emergency[..., 1:]
    rewards = p.progress * share * eta + c * (p.recovery_base + (1.0 - p.recovery_base) * share)  # (43, 44)
    rewards = rewards - p.offroad * outside.to(dtype) - p.opposite_lane * opposite.to(dtype)
    rewards = rewards - p.offroute * off_route.to(dtype) - p.emergency_lane * emergency.to(dtype)
    time = torch.arange(steps)
    if not p.reward_after_collision:
        rewards = torch.where(time > collided[..., None], rewards.clamp(max=0.0), rewards)
    relative = (ego.speed[..., 1:] / p.collision_speed).clamp(p.collision_speed_min, p.collision_speed_max)
    charge = p.collision * (1.0 + p.collision_speed_gain * relative)  # (45)
    rewards = rewards - charge * (time == collided[..., None])

    discounted = rewards * p.discount ** time.to(dtype)  # (37)
    charges = ((p.red_light, red), (p.stop_sign, stop))
    returns = discounted.sum(-1) - sum((value * (at < steps).to(dtype) for value, at in charges), torch.zeros(()))
    first_steps = min(5, steps)
    pieces = [value * (at < first_steps).to(dtype) for value, at in charges]
    first_returns = discounted[..., :first_steps].sum(-1) - pieces[0] - pieces[1]
    flags = torch.stack(
        [
            *(at < steps for at in (collided, red, stop)),
            *(event.any(-1) for event in (outside, off_route, emergency, opposite)),
        ],
        dim=-1,
    )
    keep = valid.to(dtype)
    return Rollout(
        returns=(returns * keep).to(device),
        first_returns=(first_returns * keep).to(device),
        collision_step=torch.where(valid & (collided < steps), collided, -1).to(device),
        flags=(flags & valid[..., None]).to(device),
        progress=((arc[..., -1] - arc[..., 0]) * keep).to(device),
        final=(torch.stack([m[..., -1] for m in (ego.x, ego.y, ego.yaw, ego.speed)], -1) * keep[..., None]).to(device),
        mask=mask,
        rewards=(rewards * keep[..., None]).to(device) if keep_rewards else None,
    )
