"""Exact branches of a running episode: any candidate is really executed from the state that was reached.

The server forks (its side of this is its own ``branching``), the client remembers what its objects hold (``memento``).
After a branch everything is as it was before, bit for bit, but for the numbers of frames, which CARLA's client wants to
see grow. Branching needs the embedded server; the rest of this package does not know that it exists.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import carla
import numpy as np
from scipy.spatial import cKDTree

from craft_lightning.conventions import EVENTS
from craft_lightning.errors import CraftError, WorldError
from craft_lightning.simulation.criteria import Incident
from craft_lightning.simulation.criteria_lanes import GridProbe
from craft_lightning.simulation.episode import RouteEpisode
from craft_lightning.simulation.episode_spec import StepResult
from craft_lightning.simulation.memento import Memento
from craft_lightning.simulation.observation import BirdsEye
from craft_lightning.simulation.prediction import LanePaths
from craft_lightning.simulation.side_channel import SideChannel
from craft_lightning.simulation.view import WorldView

# What an episode refers to and never changes, or changes only as a cache: the map, and what was made of it.
SHARED: tuple[type, ...] = (BirdsEye, LanePaths, GridProbe, cKDTree)
SHARED_MODULES = ("craft_lightning.roads.",)
_CONTROLLED: tuple[type, ...] = (carla.Vehicle, carla.Walker)
_LOOK = 0.0001  # seconds between two looks for the restored snapshot

Continuation = Literal["plan", "expert"] | Callable[[StepResult], np.ndarray]
"""Who drives after the candidate's own part: its plan for good, the privileged expert, or a function of the state."""


@dataclasses.dataclass
class Branch:
    """What one candidate led to, T poses at 0.1 s from the state that was branched, which is pose 0.

    A branch that ended early (a collision, the end of the route) has fewer poses and decisions.

    Attributes:
        ego: [T + 1, 4] float64 x, y, yaw (world frame) and speed.
        events: [D, len(EVENTS)] float32, 0 or 1, a row a decision.
        flags: [T, len(EVENTS)] bool, what happened in the two ticks up to each pose after the first.
        collision_step: row of ``flags`` of the first collision, -1 for none.
        progress: metres of route gained.
        done: whether the episode ended in the branch; ``status`` says how.
        status: as in ``Criteria``, "" while it goes on.
        incidents: what went wrong.
        ids: [A] actors seen at the state that was branched, where others were recorded.
        others: [A, T + 1, 4] x, y, yaw, speed in the world frame; NaN where an actor was gone.

    """

    ego: np.ndarray
    events: np.ndarray
    flags: np.ndarray
    collision_step: int
    progress: float
    done: bool
    status: str
    incidents: list[Incident]
    ids: np.ndarray | None = None
    others: np.ndarray | None = None


class Moment:
    """A state of the world to which one can go back as often as wanted; made by ``Branching.moment``.

    Args:
        episode: the running episode.
        channel: the side channel of its server.

    """

    def __init__(self, episode: RouteEpisode, channel: SideChannel) -> None:
        self._episode, self._channel = episode, channel
        self._memento = Memento(episode, SHARED, SHARED_MODULES, _CONTROLLED)
        self._controls = [(actor, actor.get_control()) for actor in self._memento.found]
        # Controls travel on a connection of their own; one that is late would steer the wrong world.
        episode.session.settle()
        channel.ask("craft.branch")

    def restore(self) -> None:
        """Go back to the moment; a new branch begins."""
        self._return("craft.again")

    def leave(self) -> None:
        """Go back to the moment and on with the undisturbed episode."""
        self._return("craft.leave")

    def _return(self, method: str) -> None:
        # The client does not send a control that equals the one it sent last: let it believe in those of the moment.
        for actor, control in self._controls:
            actor.apply_control(control)
        self._episode.session.settle()
        frame = self._channel.ask(method)
        self._memento.restore()
        episode = self._episode
        episode.forget_before(frame + 1)
        deadline = time.monotonic() + self._channel.timeout
        while episode.session.world.get_snapshot().frame < frame:
            if time.monotonic() > deadline:
                raise WorldError(f"the snapshot of frame {frame} did not come; collect the episode again")
            time.sleep(_LOOK)


class Branching:
    """Branches of one episode's world.

    Args:
        episode: the episode, which may be reset and driven as usual in between.
        timeout: seconds to wait for one answer of the side channel.

    """

    def __init__(self, episode: RouteEpisode, timeout: float = 20.0) -> None:
        self.episode, self._timeout = episode, timeout
        self._channel: SideChannel | None = None

    @contextlib.contextmanager
    def moment(self) -> Iterator[Moment]:
        """Hold this state: inside the block one drives branches, after it the episode goes on as if nothing was.

        Moments nest.

        Raises:
            CraftError: no episode runs, its server knows no branches, or something in it cannot be put back.
            WorldError: the server failed.

        """
        if self.episode.done:
            raise CraftError("no episode runs that could be branched; call reset first")
        if self._channel is None:
            session = self.episode.session
            self._channel = SideChannel(session.host, session.port, self._timeout)
        moment = Moment(self.episode, self._channel)
        try:
            yield moment
        except WorldError:  # there is no server left to go back with
            raise
        except BaseException:
            moment.leave()
            raise
        moment.leave()

    def run(
        self,
        trajectories: Sequence[np.ndarray] | np.ndarray,
        seconds: float = 4.0,
        then: Continuation = "plan",
        pieces: int = 1,
        record: bool = False,
    ) -> list[Branch]:
        """Execute every candidate from the present state, each in a branch of its own.

        Args:
            trajectories: [K, T, 3] poses every 0.1 s in the ego frame of the present state.
            seconds: how long each branch lasts, a multiple of the decision.
            then: "plan": the candidate is tracked for all of ``seconds`` (straight on at its last speed past its end,
                as in the counterfactual world). Otherwise its first ``pieces`` decisions are executed, and then
                decisions of the expert, or of a function of the state reached.
            pieces: decisions that the candidate keeps where ``then`` is not "plan".
            record: note the poses of all others.

        Returns:
            One branch a candidate.

        """
        decision = self.episode.options.ticks_per_decision * self.episode.session.delta
        decisions = round(seconds / decision)
        if decisions < 1 or abs(decisions * decision - seconds) > 1e-6 or pieces < 1:
            raise CraftError(
                f"a branch of {seconds} s with {pieces} own decisions does not fit; give a multiple of {decision} s "
                "and at least one"
            )
        branches = []
        with self.moment() as moment:
            for number, trajectory in enumerate(trajectories):
                if number:
                    moment.restore()
                branches.append(drive_branch(self.episode, trajectory, decisions, then, pieces, record))
        return branches

    def close(self) -> None:
        """Hang up the side channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class _Recorder:
    """Notes poses and events every 0.1 s while decisions are executed."""

    def __init__(self, episode: RouteEpisode, everybody: bool) -> None:
        self.episode = episode
        self.ids = episode.view.ids[episode.view.others] if everybody else None
        self.ego: list[tuple[float, ...]] = []
        self.flags: list[np.ndarray] = []
        self.others: list[np.ndarray] = []
        self._ticks, self._ticks_per_pose = 0, episode.session.ticks_per_step
        self._note(episode.view)

    def __call__(self, view: WorldView, happened: np.ndarray, snapshot: Any) -> None:
        """Take one tick."""
        if self._ticks % self._ticks_per_pose:
            self.flags[-1] |= happened
        else:
            self.flags.append(happened.copy())
        self._ticks += 1
        # An episode may end between two poses; its last moment then stands for the second one.
        if self._ticks % self._ticks_per_pose == 0 or self.episode.criteria.status:
            self._note(view, snapshot)

    def _note(self, view: WorldView, snapshot: Any = None) -> None:
        self.ego.append((*view.ego_pose, view.ego_speed))
        if self.ids is not None:
            # Read apart from what the episode sees, which is to see the same with and without a recorder.
            self.others.append(poses_of(self.episode.reader.read(snapshot), self.ids))


def poses_of(view: WorldView, ids: np.ndarray) -> np.ndarray:
    """Return [A, 4] x, y, yaw, speed of actors in the world frame, NaN for those that are gone.

    Args:
        view: a full view.
        ids: [A] actors.

    """
    found = np.full((len(ids), 4), np.nan)
    rows = np.searchsorted(view.ids, ids).clip(max=len(view.ids) - 1)
    here = view.ids[rows] == ids
    rows = rows[here]
    found[here] = np.stack([view.x[rows], view.y[rows], view.yaw[rows], view.speed[rows]], -1)
    return found


def drive_branch(
    episode: RouteEpisode, trajectory: np.ndarray, decisions: int, then: Continuation, pieces: int, record: bool
) -> Branch:
    """Execute a candidate in the branch that has just begun; arguments as in ``Branching.run``."""
    recorder = _Recorder(episode, record)
    noted, before = len(episode.criteria.incidents), episode.criteria.progress.s
    events: list[np.ndarray] = []
    for decision in range(decisions):
        plan: np.ndarray | None = trajectory if decision == 0 else None
        if then != "plan" and decision >= pieces:
            plan = episode.expert_plan() if then == "expert" else then(episode.observe())
        events.append(episode.execute(plan, recorder))
        if episode.done:
            break
    criteria, flags = episode.criteria, np.array(recorder.flags)
    hits = np.flatnonzero(flags[:, EVENTS.index("collision")])
    return Branch(
        ego=np.array(recorder.ego),
        events=np.array(events, np.float32),
        flags=flags,
        collision_step=int(hits[0]) if len(hits) else -1,
        progress=criteria.progress.s - before,
        done=episode.done,
        status=criteria.status,
        incidents=criteria.incidents[noted:],
        ids=recorder.ids,
        others=np.stack(recorder.others, 1) if recorder.ids is not None else None,
    )
