"""First contacts of every candidate with every track, and whose fault they are.

Only the first contact with a track counts: after it the track is out of the game, at fault or not (NAVSIM, nuPlan).
Boxes that merely touch have no contact, in contrast to shapely's polygons, where that has measure zero.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from craft_lightning.conventions import AGENT_CYCLIST, AGENT_STATIC, AGENT_VEHICLE, AGENT_WALKER
from craft_lightning.counterfactual.scores.drive import Drive
from craft_lightning.counterfactual.scores.parameters import ScoreParameters
from craft_lightning.geometry import separating_axis


@dataclasses.dataclass
class Contacts:
    """N meetings, each with its state, candidate, track and step, all [N] int64."""

    state: Tensor
    candidate: Tensor
    track: Tensor
    step: Tensor

    def select(self, keep: Tensor) -> "Contacts":
        """Those where ``keep`` [N] holds."""
        return Contacts(self.state[keep], self.candidate[keep], self.track[keep], self.step[keep])

    @classmethod
    def joined(cls, parts: Sequence["Contacts"]) -> "Contacts":
        """All meetings of several."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    @property
    def pair(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of state, candidate and track."""
        return self.state, self.candidate, self.track


@dataclasses.dataclass
class Pairs:
    """P pairs of a candidate and a track that may come close, with all their instants.

    Attributes:
        state: [P].
        candidate: [P].
        track: [P].
        dx: [P, S] metres from the ego's centre to the track's.
        dy: likewise.
        square: [P, 1] squared distance below which the circles around both boxes meet.

    """

    state: Tensor
    candidate: Tensor
    track: Tensor
    dx: Tensor
    dy: Tensor
    square: Tensor

    @classmethod
    def near(cls, drive: Drive, seconds: float) -> "Pairs":
        """Pairs whose swept bounds meet, grown by what both drive in ``seconds``."""
        ego, tracks = drive.ego, drive.tracks
        reach = drive.half.norm(dim=-1)[:, None, None] + drive.half_tracks.norm(dim=-1)[:, None, :]
        grown = reach + seconds * (ego.speed.amax(-1)[..., None] + tracks.speed.amax(-1)[:, None, :])
        near = drive.present[:, None]
        for own, other in ((ego.x, tracks.x), (ego.y, tracks.y)):
            near = near & (other.amax(-1)[:, None] > own.amin(-1)[..., None] - grown)
            near = near & (other.amin(-1)[:, None] < own.amax(-1)[..., None] + grown)
        state, candidate, track = torch.nonzero(near, as_tuple=True)
        dx = tracks.x[state, track] - ego.x[state, candidate]
        dy = tracks.y[state, track] - ego.y[state, candidate]
        square = reach.expand_as(near)[state, candidate, track].square()[:, None]
        return cls(state, candidate, track, dx, dy, square)

    def ego_velocity(self, drive: Drive) -> tuple[Tensor, Tensor]:
        """X and y [P, S] of the ego's velocity, m/s."""
        ego = drive.ego
        pair = self.state, self.candidate
        return (ego.speed * ego.cos)[pair], (ego.speed * ego.sin)[pair]

    def track_velocity(self, drive: Drive) -> tuple[Tensor, Tensor]:
        """X and y [P, S] of the track's velocity, m/s."""
        tracks = drive.tracks
        pair = self.state, self.track
        return (tracks.speed * tracks.cos)[pair], (tracks.speed * tracks.sin)[pair]

    def meetings(self, close: Tensor) -> Contacts:
        """Pairs and steps where ``close`` [P, S or less] holds."""
        pair, step = torch.nonzero(close, as_tuple=True)
        return Contacts(self.state[pair], self.candidate[pair], self.track[pair], step)


def overlaps(drive: Drive, seen: Contacts, later: int = 0, ahead: float = 0.0, tracks_too: bool = False) -> Tensor:
    """Whether the boxes of each meeting overlap, [N] bool.

    Args:
        drive: the drive.
        seen: N meetings.
        later: steps after the meeting's at which the track's pose is read.
        ahead: seconds by which the ego is moved on at its speed and heading.
        tracks_too: move the track on as well.

    """
    b, k, a, t = seen.state, seen.candidate, seen.track, seen.step
    ego, tracks = drive.ego, drive.tracks
    then = t + later
    cos, sin = ego.cos[b, k, t], ego.sin[b, k, t]
    track_cos, track_sin = tracks.cos[b, a, then], tracks.sin[b, a, then]
    dx, dy = tracks.x[b, a, then] - ego.x[b, k, t], tracks.y[b, a, then] - ego.y[b, k, t]
    if ahead > 0.0:
        metres = ahead * ego.speed[b, k, t]
        dx, dy = dx - metres * cos, dy - metres * sin
    if tracks_too:
        metres = ahead * tracks.speed[b, a, then]
        dx, dy = dx + metres * track_cos, dy + metres * track_sin
    return separating_axis(
        dx, dy, cos, sin, track_cos, track_sin, *drive.half[b].unbind(-1), *drive.half_tracks[b, a].unbind(-1)
    )


def earliest(drive: Drive, seen: Contacts, order: Tensor) -> Tensor:
    """Lowest ``order`` [N] of each candidate and track, [B, K, A]; the largest integer where there is none."""
    shape = (*drive.ego.x.shape[:2], drive.tracks.x.shape[1])
    none = torch.iinfo(torch.int64).max
    first = torch.full(shape, none, device=order.device)
    place = (seen.state * shape[1] + seen.candidate) * shape[2] + seen.track
    first.view(-1).scatter_reduce_(0, place, order, "amin")
    return first


def first_contacts(drive: Drive, pairs: Pairs) -> Contacts:
    """Find each pair's first step, from 0 on, at which the boxes overlap.

    Args:
        drive: the drive.
        pairs: those that may come close.

    """
    close = pairs.meetings(pairs.dx.square() + pairs.dy.square() < pairs.square)
    touching = close.select(overlaps(drive, close))
    first = earliest(drive, touching, touching.step)
    state, candidate, track = torch.nonzero(first < drive.ego.x.shape[-1], as_tuple=True)
    return Contacts(state, candidate, track, first[state, candidate, track])


def bearing(drive: Drive, contacts: Contacts, x: Tensor, y: Tensor) -> Tensor:
    """Cosine [N] of the angle at which places x, y [N] are seen from the rear axle at the contacts' steps."""
    b, k, t = contacts.state, contacts.candidate, contacts.step
    cos, sin = drive.ego.cos[b, k, t], drive.ego.sin[b, k, t]
    dx = x - drive.ego.x[b, k, t] + drive.rear[b] * cos
    dy = y - drive.ego.y[b, k, t] + drive.rear[b] * sin
    return (dx * cos + dy * sin) / torch.hypot(dx, dy).clamp(min=1e-6)


def at_fault(drive: Drive, contacts: Contacts, loose: Tensor, p: ScoreParameters) -> Tensor:
    """Whether each contact is the ego's fault, [N] bool.

    No fault: the ego stands, or is hit from behind. Fault: the track stands, or is hit with the front bumper, or
    sideways while ``loose``. Whether a track stands is asked at the step of the contact, as nuPlan does; NAVSIM asks
    how fast it was when first seen.

    Args:
        drive: the drive.
        contacts: N contacts.
        loose: [B, K, S] bool, the ego is in several lanes or off the road.
        p: thresholds.

    """
    b, k, a, t = contacts.state, contacts.candidate, contacts.track, contacts.step
    ego, tracks = drive.ego, drive.tracks
    x, y = tracks.x[b, a, t], tracks.y[b, a, t]
    behind = bearing(drive, contacts, x, y) < math.cos(math.radians(p.behind_degrees))
    cos, sin = ego.cos[b, k, t], ego.sin[b, k, t]
    half_length, half_width = drive.half[b].unbind(-1)
    bumper = separating_axis(
        x - ego.x[b, k, t] - half_length * cos,
        y - ego.y[b, k, t] - half_length * sin,
        cos,
        sin,
        tracks.cos[b, a, t],
        tracks.sin[b, a, t],
        torch.zeros_like(half_length),
        half_width,
        *drive.half_tracks[b, a].unbind(-1),
    )
    stands = drive.static[b, a] | (tracks.speed[b, a, t] <= p.stopped_speed)
    moves = ego.speed[b, k, t] > p.stopped_speed
    return moves & (stands | (~behind & (bumper | loose[b, k, t])))


def no_at_fault_collision(drive: Drive, contacts: Contacts, loose: Tensor, p: ScoreParameters) -> Tensor:
    """NAVSIM's NC [B, K]: 0 after a collision at fault with an agent, 0.5 with an object, else 1."""
    used = contacts.select(contacts.step > 0) if p.skip_first_contacts else contacts
    fault = at_fault(drive, used, loose, p)
    value = torch.where(drive.static[used.state, used.track], 0.5, 1.0 - fault.to(drive.ego.x.dtype))
    score = torch.ones_like(drive.ego.x[..., 0])
    place = used.state * score.shape[1] + used.candidate
    score.view(-1).scatter_reduce_(0, place[fault], value[fault].to(score.dtype), "amin")
    return score


def collision_classes(drive: Drive, contacts: Contacts, fault: Tensor, p: ScoreParameters) -> Tensor:
    """NuPlan's collision score [B, K]: the product over walkers and cyclists, vehicles and objects.

    A class with n collisions at fault counts max(0, 1 - n / (allowed + 1)); allowed are 0, 0 and ``objects_allowed``.
    Unlike NAVSIM it counts tracks that overlap the ego at once.
    """
    score = torch.ones_like(drive.ego.x[..., 0])
    kind = drive.scene.agent_kind[contacts.state, contacts.track]
    place = contacts.state * score.shape[1] + contacts.candidate
    classes = (((AGENT_WALKER, AGENT_CYCLIST), 0), ((AGENT_VEHICLE,), 0), ((AGENT_STATIC,), p.objects_allowed))
    for kinds, allowed in classes:
        counted = fault & torch.isin(kind, torch.tensor(kinds, device=kind.device))
        number = torch.zeros_like(score)
        number.view(-1).index_add_(0, place[counted], torch.ones_like(place[counted], dtype=score.dtype))
        score = score * (1.0 - number / (allowed + 1)).clamp(min=0.0)
    return score
