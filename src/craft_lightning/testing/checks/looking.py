"""What a policy looks through: a rig that worlds can attach, and that matters."""

import torch

from craft_lightning.errors import CraftError
from craft_lightning.rig import Sensor, check_names, require_places
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, leaves, measured_at_random, require, violated


@check("context")
def rig(subject: Subject) -> None:
    """A rig can be attached; every sensor of it makes a difference, and none goes missing without a word."""
    adapter = subject.adapter
    require(
        isinstance(adapter.rig, tuple) and all(isinstance(sensor, Sensor) for sensor in adapter.rig),
        "rig is no tuple of sensors; make it with rigs.read_rig",
    )
    if not adapter.rig:
        return
    try:
        check_names(adapter.rig, "rig")
        require_places(adapter.rig, type(adapter).__name__)
    except CraftError as error:
        violated(str(error))
    seen = subject.observation()
    _refuses_the_dark(subject)
    if seen.sensors is None:
        violated("the observations given have no sensors, and the adapter has a rig")
    other = measured_at_random(adapter.rig, subject.states, subject.seed + 1).to(subject.device)
    with torch.no_grad():
        before = leaves(adapter.encode(seen))
        for sensor in adapter.rig:
            changed = seen.clone(recurse=False)
            swapped = {name: other[name] for name in sensor.shapes()}
            changed.sensors = seen.sensors.clone(recurse=False).update(swapped)
            after = leaves(adapter.encode(changed))
            require(
                any(not torch.equal(before[key], after[key]) for key in before),
                f"the context is the same whatever the {sensor} sees; look at it or leave it out of rig",
            )


def _refuses_the_dark(subject: Subject) -> None:
    dark = subject.observation().clone(recurse=False)
    dark.sensors = None
    try:
        with torch.no_grad():
            subject.adapter.encode(dark)
    except CraftError:
        return
    except Exception as error:
        violated(f"an observation without sensors ends in a {type(error).__name__} and not in a sentence (CraftError)")
    violated("an observation without the sensors of its rig is encoded without a word")
