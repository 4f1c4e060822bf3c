"""Time to collision: NAVSIM's looks at constant velocity into the tracks' real future, nuPlan's with both projected."""

import math

import torch
from torch import Tensor

from craft_lightning.counterfactual.scores.areas import Areas
from craft_lightning.counterfactual.scores.contacts import Contacts, Pairs, bearing, earliest, overlaps
from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.parameters import ScoreParameters


def navsim_ttc(drive: Drive, areas: Areas, pairs: Pairs, initial: Contacts, p: ScoreParameters) -> Tensor:
    """NAVSIM's TTC [B, K], 1 or 0.

    At every step the ego's box is moved on at its speed and heading by 0, 0.3, 0.6 and 0.9 s and held against the
    tracks where they then are; steps whose looks would leave the rollout are not asked, nor is a standing ego. The
    first hit on a track decides: 0 if the track is ahead, or not behind while the ego is in several lanes, off the road
    or in a junction; otherwise that track is out of the game.

    Args:
        drive: the drive.
        areas: where the ego stands.
        pairs: those that come close within ``p.ttc_window``.
        initial: first contacts; tracks of those at step 0 are passed over with ``p.skip_first_contacts``.
        p: thresholds.

    """
    looks = range(0, round(p.ttc_window / drive.dt), max(round(p.ttc_stride / drive.dt), 1))
    asked = drive.ego.x.shape[-1] - looks[-1]
    vx, vy = (part[:, :asked] for part in pairs.ego_velocity(drive))
    moved = [place[pairs.state, pairs.track] for place in (drive.tracks.x, drive.tracks.y)]
    parts, orders = [], []
    for number, look in enumerate(looks):
        seconds = look * drive.dt
        dx, dy = pairs.dx[:, :asked], pairs.dy[:, :asked]
        if look:
            # Where the track is by then, seen from where the ego was and from where it would be.
            dx = dx + moved[0][:, look : look + asked] - moved[0][:, :asked] - seconds * vx
            dy = dy + moved[1][:, look : look + asked] - moved[1][:, :asked] - seconds * vy
        seen = pairs.meetings(dx.square() + dy.square() < pairs.square)
        seen = seen.select(overlaps(drive, seen, look, seconds))
        parts.append(seen)
        # Steps in order, within a step the looks in order: what happens first decides.
        orders.append(seen.step * len(looks) + number)
    seen, order = Contacts.joined(parts), torch.cat(orders)
    used = drive.ego.speed[seen.state, seen.candidate, seen.step] >= p.ttc_stopped_speed
    if p.skip_first_contacts:
        touching = torch.zeros((*drive.ego.x.shape[:2], drive.tracks.x.shape[1]), dtype=torch.bool, device=used.device)
        touching[initial.select(initial.step == 0).pair] = True
        used &= ~touching[seen.pair]
    first = earliest(drive, seen.select(used), order[used])
    state, candidate, track = torch.nonzero(first < torch.iinfo(torch.int64).max, as_tuple=True)
    pair = state, candidate, track
    step = first[pair] // len(looks)
    then = step + torch.tensor(list(looks), device=step.device)[first[pair] % len(looks)]
    meeting = Contacts(state, candidate, track, step)
    x, y = drive.tracks.x[meeting.state, meeting.track, then], drive.tracks.y[meeting.state, meeting.track, then]
    loose = (areas.several_lanes | areas.off_road | areas.rear_junction)[meeting.state, meeting.candidate, step]
    bad = meeting.select(_relevant(drive, meeting, x, y, loose, p))
    return _none_of(drive, bad.state, bad.candidate)


def nuplan_ttc(
    drive: Drive, areas: Areas, pairs: Pairs, contacts: Contacts, fault: Tensor, p: ScoreParameters
) -> Tensor:
    """NuPlan's TTC [B, K]: 1 if the time to collision always stays above ``p.least_ttc``, else 0.

    At every step, the last one too, ego and tracks are moved on at constant velocity in steps of 0.1 s. Tracks count
    that are ahead, or not behind while the ego's corners are in different lanes or its rear axle in a junction; a track
    is out of the game from its first contact on. A collision at fault is a time of 0.

    Args:
        drive: the drive.
        areas: where the ego stands.
        pairs: those that come close within ``p.least_ttc``.
        contacts: first contacts.
        fault: [N] whose fault they are.
        p: thresholds.

    """
    gone = earliest(drive, contacts, contacts.step)
    # Of two that drive on straight: how close their centres come.
    (vx, vy), (track_vx, track_vy) = pairs.ego_velocity(drive), pairs.track_velocity(drive)
    wx, wy = track_vx - vx, track_vy - vy
    when = -(pairs.dx * wx + pairs.dy * wy) / (wx.square() + wy.square()).clamp(min=1e-6)
    when = when.clamp(0.0, p.least_ttc)
    closest = (pairs.dx + when * wx).square() + (pairs.dy + when * wy).square()
    seen = pairs.meetings(closest < pairs.square)
    moving = drive.ego.speed[seen.state, seen.candidate, seen.step] > p.ttc_stopped_speed
    seen = seen.select(moving & (seen.step < gone[seen.pair]))
    loose = (areas.apart | areas.rear_junction)[seen.state, seen.candidate, seen.step]
    x, y = (place[seen.state, seen.track, seen.step] for place in (drive.tracks.x, drive.tracks.y))
    seen = seen.select(_relevant(drive, seen, x, y, loose, p))
    bad = torch.zeros_like(seen.step, dtype=torch.bool)
    for step in range(1, math.floor(p.least_ttc / drive.dt + 1e-6) + 1):
        bad |= overlaps(drive, seen, 0, step * drive.dt, tracks_too=True)
    late, guilty = seen.select(bad), contacts.select(fault)
    return _none_of(drive, torch.cat([late.state, guilty.state]), torch.cat([late.candidate, guilty.candidate]))


def _relevant(drive: Drive, seen: Contacts, x: Tensor, y: Tensor, loose: Tensor, p: ScoreParameters) -> Tensor:
    """Whether tracks at x, y [N] are ahead, or at the side while the ego is ``loose`` [N]."""
    cosine = bearing(drive, seen, x, y)
    ahead = cosine > math.cos(math.radians(p.ahead_degrees))
    return ahead | (loose & (cosine >= math.cos(math.radians(p.behind_degrees))))


def _none_of(drive: Drive, state: Tensor, candidate: Tensor) -> Tensor:
    score = torch.ones_like(drive.ego.x[..., 0])
    score[state, candidate] = 0.0
    return score
