"""SUMO inside this process: one network loaded at a time, and what is read from it once a load.

libsumo is a process-wide singleton, so there is one :class:`SumoEngine` a server. SUMO's frame is the OpenDRIVE frame
(nets have no offset); its angles are navigational degrees and its reference point is the middle of the front bumper:
``x_carla = x``, ``y_carla = -y``, ``yaw_carla = angle - 90``.
"""

import math
from pathlib import Path

import libsumo
import numpy as np

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded.lights import LightLinks, ProgramPlan
from craft_lightning.simulation.embedded.town import LightPlace

# A link belongs to a light when its lane ends this close to one of the light's lane ends, heading the same way.
LINK_REACH = 8.0  # m
LINK_TURN = 50.0  # deg


class SumoEngine:
    """The one SUMO of this process.

    Args:
        additional: path of the file with vehicle types.

    """

    def __init__(self, additional: Path) -> None:
        self._additional = additional
        self._started = False
        self.net: Path | None = None
        self.delta = 0.0

    def load(self, net: Path, delta: float, seed: int) -> None:
        """Load a network with nothing on its roads.

        It is read anew even where it is loaded already. ``simulation.loadState`` of an empty state would take 4 ms
        instead of 28, but leaves pedestrians behind at the crossings that they were about to enter: SUMO 1.28 empties a
        link's vehicles alone, so that traffic brakes for them and reads what is no longer theirs.

        Args:
            net: SUMO network.
            delta: seconds of a step.
            seed: of SUMO's own random numbers.

        Raises:
            CraftError: SUMO cannot read the network.

        """
        arguments = [
            f"--net-file={net}",
            f"--additional-files={self._additional}",
            f"--step-length={delta:.9g}",
            f"--seed={seed}",
            "--no-step-log=true",
            "--no-warnings=true",
            # Traffic that is stuck stays stuck, and overlaps are this server's own business.
            "--time-to-teleport=-1",
            "--collision.action=none",
            "--collision.check-junctions=false",
            # A lane change takes a moment, as seen from outside.
            "--lanechange.duration=2.5",
            # Exact save and load of the traffic state.
            "--save-state.precision=12",
            "--save-state.rng=false",
            "--default.speeddev=0",
        ]
        try:
            if self._started:
                libsumo.load(arguments)
            else:
                libsumo.start(["sumo", *arguments])
                self._started = True
        except (libsumo.TraCIException, libsumo.FatalTraCIError) as cause:
            raise CraftError(
                f"SUMO cannot load the network {net} ({cause}); delete it and let it be made anew"
            ) from cause
        self.net, self.delta = net, delta

    def close(self) -> None:
        """End SUMO."""
        if self._started:
            libsumo.close()
            self._started = False

    def programs(self) -> list[ProgramPlan]:
        """Return the signal programs of the loaded network, in order of their names."""
        plans = []
        for name in sorted(libsumo.trafficlight.getIDList()):
            logic = libsumo.trafficlight.getAllProgramLogics(name)[0]
            phases = tuple((float(phase.duration), str(phase.state)) for phase in logic.phases)
            plans.append(ProgramPlan(name, phases))
        return plans

    def links(self, places: list[LightPlace]) -> list[LightLinks]:
        """Return the links that each light rules.

        A link names its OpenDRIVE signals (``linkSignalID``); where a signal stands at several approaches, only links
        of lanes that end at the light's own stop lines count.
        """
        named: dict[str, list[tuple[str, int, np.ndarray, float]]] = {}
        for name in sorted(libsumo.trafficlight.getIDList()):
            for index, ways in enumerate(libsumo.trafficlight.getControlledLinks(name)):
                if not ways:
                    continue
                signals = libsumo.trafficlight.getParameter(name, f"linkSignalID:{index}").split()
                if not signals:
                    continue
                end, turn = _approach(*ways[0][:2])
                for signal in signals:
                    named.setdefault(signal, []).append((name, index, end, turn))
        return [_own_links(place, named.get(place.signal, [])) for place in places]


def _approach(lane: str, after: str) -> tuple[np.ndarray, float]:
    """Return a lane's end (x, y, yaw [deg], CARLA's frame) and how much the way on to ``after`` turns [deg]."""
    shape = np.array(libsumo.lane.getShape(lane))[:, :2]
    onward = np.array(libsumo.lane.getShape(after))[:, :2]
    heading = math.degrees(math.atan2(*(shape[-1] - shape[-2])[::-1]))
    leaving = math.degrees(math.atan2(*(onward[1] - onward[0])[::-1]))
    return np.array([shape[-1, 0], -shape[-1, 1], -heading]), abs(_wrap(leaving - heading))


def _own_links(place: LightPlace, candidates: list[tuple[str, int, np.ndarray, float]]) -> LightLinks:
    def near(end: np.ndarray) -> bool:
        far = np.linalg.norm(place.lane_ends[:, :2] - end[:2], axis=1)
        turned = np.abs((place.lane_ends[:, 2] - end[2] + 180.0) % 360.0 - 180.0)
        return bool(((far < LINK_REACH) & (turned < LINK_TURN)).any())

    own = [candidate for candidate in candidates if near(candidate[2])] or candidates
    own = sorted(own, key=lambda candidate: (round(candidate[3]), candidate[0], candidate[1]))
    return LightLinks(tuple((name, index) for name, index, _, _ in own))


def show(program: str, letters: str) -> None:
    """Make SUMO's vehicles obey the given link states."""
    libsumo.trafficlight.setRedYellowGreenState(program, letters)


def _wrap(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
