"""Where the reward prefers ramming a standing obstacle to braking for it: the horizon's blind zone, swept and drawn.

``python -m benchmarks.blind_zone docs`` writes ``docs/blind_zone.md`` and its picture.
"""

import argparse
import dataclasses
import pathlib

import numpy as np
import torch

from craft_lightning.control import BicycleParameters, TrackerParameters
from craft_lightning.conventions import AGENT_STATIC, TICK_SECONDS, TICKS_PER_DECISION
from craft_lightning.counterfactual.parameters import RewardParameters
from craft_lightning.counterfactual.world import CounterfactualWorld
from craft_lightning.testing.straight_road import (
    add_agent,
    constant_acceleration_plans,
    empty_scene,
    straight_road,
)

_DECISION = TICK_SECONDS * TICKS_PER_DECISION

_INTRODUCTION = """# The blind zone of the counterfactual reward

Written by `python -m benchmarks.blind_zone docs`; the numbers are those of the default parameters.

A car stands in the ego's lane. Two candidates: drive on at the present speed, or brake at a constant deceleration to
a stop. Braking *must* win where it cannot wait: where at the next decision, 0.5 s later, the same deceleration is too
late. The *blind zone* (red) is where driving on wins nevertheless. Where driving on wins although it ends in a crash
within the horizon, but the next decision is still early enough (orange), nothing is lost yet.

![Blind zone over speed and gap]({picture})

There are two causes. A crash beyond the horizon costs nothing, while braking gives progress away at once: that is
the red band of weak braking at 2 s, and a longer horizon removes it. And a crash that cannot be avoided any more
(upper left, gap below the stopping distance) costs the same at every speed above 12 m/s, where the multiplier's
v / v_ref is clipped, so that braking a little earns nothing. The grounded residual, which sees real collisions, has
to do the rest."""


@dataclasses.dataclass(frozen=True)
class BlindZone:
    """What a sweep found, arrays [speeds, decelerations, gaps].

    Attributes:
        horizon: seconds.
        speeds: m/s.
        decelerations: m/s2 of the braking candidate.
        gaps: metres between the bumpers.
        advantage: return of braking minus return of driving on at the same speed.
        rams: driving on hits the obstacle within the horizon.
        too_late: from the next decision, 0.5 s on, this deceleration cannot avoid the obstacle (any more).

    """

    horizon: float
    speeds: np.ndarray
    decelerations: np.ndarray
    gaps: np.ndarray
    advantage: np.ndarray
    rams: np.ndarray
    too_late: np.ndarray

    @property
    def blind(self) -> np.ndarray:
        """Driving on outscores braking although braking cannot wait."""
        return (self.advantage <= 0.0) & self.too_late

    @property
    def postponed(self) -> np.ndarray:
        """Driving on outscores braking and rams within the horizon, but the next decision can still brake."""
        return (self.advantage <= 0.0) & self.rams & ~self.too_late


def sweep_blind_zone(
    horizon: float = 2.0,
    speeds: np.ndarray | None = None,
    decelerations: np.ndarray | None = None,
    gaps: np.ndarray | None = None,
    reward: RewardParameters | None = None,
    tracker: TrackerParameters | None = None,
    bicycle: BicycleParameters | None = None,
) -> BlindZone:
    """Score braking and driving on, before a standing car, over speed, gap and deceleration.

    Args:
        horizon: seconds that the counterfactual world looks ahead.
        speeds: m/s, None for 3 .. 16.
        decelerations: m/s2 of the braking candidate, None for 2 .. 8.
        gaps: metres between the bumpers, None for 1 .. 60.
        reward: constants of the reward.
        tracker: constants of the tracker.
        bicycle: constants of the bicycle.

    Returns:
        The sweep.

    """
    speeds = np.arange(3.0, 16.5, 1.0) if speeds is None else speeds
    decelerations = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 8.0]) if decelerations is None else decelerations
    gaps = np.arange(1.0, 60.5, 0.5) if gaps is None else gaps
    world = CounterfactualWorld(horizon, reward, tracker, bicycle, threads=1)
    road = straight_road(2)
    shape = (len(speeds), len(decelerations), len(gaps))
    advantage, rams, too_late = np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool)
    accelerations = [0.0, *(-decelerations).tolist()]
    for index, speed in enumerate(speeds.tolist()):
        scene = add_agent(empty_scene(len(gaps), speed=speed), 0, 0.0, kind=AGENT_STATIC)
        # Both cars are 4.6 m long.
        scene.agents[:, 0, 0] = torch.from_numpy(gaps + 4.6)
        plans = constant_acceleration_plans(speed, accelerations)[None]
        mask = torch.ones(len(gaps), len(accelerations), dtype=torch.bool)
        answer = world.rollout(scene, plans, mask, [road])
        returns = answer.returns.double().numpy()
        advantage[index] = (returns[:, 1:] - returns[:, :1]).T
        rams[index] = answer.collision_step[:, 0].numpy() >= 0
        stopping = speed**2 / (2.0 * decelerations)[:, None]
        too_late[index] = gaps[None] < stopping + speed * _DECISION
    return BlindZone(horizon, speeds, decelerations, gaps, advantage, rams, too_late)


def _ranges(gaps: np.ndarray, chosen: np.ndarray) -> str:
    """Gaps as ranges, such as "3.0-4.5, 9.0"."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    parts = [
        f"{gaps[a]:g}-{gaps[b - 1]:g}" if b - a > 1 else f"{gaps[a]:g}"
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]
    return ", ".join(parts) or "none"


def markdown(zones: list[BlindZone], picture: str) -> str:
    """The page that ``docs/blind_zone.md`` holds."""
    lines = [_INTRODUCTION.format(picture=picture)]
    for zone in zones:
        share = zone.blind.sum() / max(zone.too_late.sum(), 1)
        crash = zone.too_late & (zone.gaps >= zone.speeds[:, None, None] ** 2 / (2.0 * zone.decelerations[:, None]))
        avoidable = (zone.blind & crash).sum() / max(crash.sum(), 1)
        lines += [
            "",
            f"## Horizon {zone.horizon:g} s: blind in {100.0 * share:.1f} % of the cases where braking cannot wait",
            "",
            f"Of those in which it still avoids the crash, {100.0 * avoidable:.1f} % are blind.",
            "Blind gaps, metres between bumpers:",
            "",
            "| m/s | " + " | ".join(f"{value:g} m/s2" for value in zone.decelerations) + " |",
            "|---" * (len(zone.decelerations) + 1) + "|",
        ]
        for row, speed in enumerate(zone.speeds):
            cells = [_ranges(zone.gaps, zone.blind[row, column]) for column in range(len(zone.decelerations))]
            lines.append(f"| {speed:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(zones: list[BlindZone], path: pathlib.Path) -> None:
    """Draw one panel a horizon and deceleration: where braking wins, where it need not and where it does not."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    columns = len(zones[0].decelerations)
    figure, axes = plt.subplots(
        len(zones), columns, figsize=(2.3 * columns, 2.5 * len(zones)), sharex=True, sharey=True, squeeze=False
    )
    colours = ["#f2f2f2", "#4c9f70", "#f0b64d", "#c8412f"]
    for row, zone in enumerate(zones):
        for column, deceleration in enumerate(zone.decelerations):
            level = zone.too_late[:, column] + 2 * zone.blind[:, column] + 2 * zone.postponed[:, column]
            axis = axes[row][column]
            axis.pcolormesh(
                zone.gaps, zone.speeds, level, cmap=ListedColormap(colours), vmin=0, vmax=3, shading="nearest"
            )
            if row == 0:
                axis.set_title(f"brake at {deceleration:g} m/s²", fontsize=9)
            if column == 0:
                axis.set_ylabel(f"horizon {zone.horizon:g} s\nspeed, m/s", fontsize=9)
            if row == len(zones) - 1:
                axis.set_xlabel("gap, m", fontsize=9)
            axis.tick_params(labelsize=8)
    names = ["braking can wait", "braking cannot wait and wins", "rams, but braking can wait", "blind: driving on wins"]
    handles = [
        Patch(facecolor=colour, edgecolor="#888888", label=name) for colour, name in zip(colours, names, strict=True)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0.0, 0.05, 1.0, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Sweep horizons of 2, 3 and 4 s and write page and picture into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="where blind_zone.md and images/blind_zone.png go")
    folder = parser.parse_args(arguments).folder
    zones = [sweep_blind_zone(horizon) for horizon in (2.0, 3.0, 4.0)]
    draw(zones, folder / "images" / "blind_zone.png")
    (folder / "blind_zone.md").write_text(markdown(zones, "images/blind_zone.png"), encoding="utf-8")


if __name__ == "__main__":
    main()
