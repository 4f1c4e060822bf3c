"""From an observation's list of objects to numbers near one."""

import torch
from torch import Tensor
from torch.nn import functional

from craft_lightning.conventions import (
    AGENT_NONE,
    AGENT_VEHICLE,
    MAX_CLOSED_LINES,
    MAX_OBJECTS,
    OBJECT_CLOSED_LINE,
    OBJECT_FEATURES,
)
from craft_lightning.errors import CraftError
from craft_lightning.structures import Observation

_KINDS = OBJECT_CLOSED_LINE - AGENT_VEHICLE + 1
OBJECT_COLUMNS = 7 + _KINDS
"""Numbers that describe one object."""


def normalised_objects(observation: Observation, reach: float) -> tuple[Tensor, Tensor]:
    """Return the objects as numbers near one, and which of them there are.

    Args:
        observation: B visited states.
        reach: metres beyond which objects are not seen.

    Returns:
        [B, 24, OBJECT_COLUMNS] float32 (place, heading as cosine and sine, speed, size, one column a kind), zeros where
        nothing is seen, and [B, 24] bool.

    Raises:
        CraftError: no list of objects, one of a wrong shape, or NaN or infinity in it.

    """
    objects = observation.objects
    shape = (len(observation.ego), MAX_OBJECTS + MAX_CLOSED_LINES, len(OBJECT_FEATURES))
    if objects is None:
        raise CraftError(
            "observation.objects is missing; give the list of objects (demonstrations of an earlier version have none: "
            "delete data.file to collect them anew)"
        )
    if tuple(objects.shape) != shape:
        raise CraftError(f"observation.objects has shape {tuple(objects.shape)}; give {shape}")
    if not torch.isfinite(objects).all():
        raise CraftError("observation.objects holds NaN or infinity; look at the world that answered it")
    x, y, yaw, speed, length, width, kind = objects.float().unbind(-1)
    seen = (kind != AGENT_NONE) & (torch.hypot(x, y) <= reach)
    # A kind that is not known counts as none of the columns.
    number = kind.long().clamp(0, OBJECT_CLOSED_LINE)
    kinds = functional.one_hot(number, _KINDS + AGENT_VEHICLE)[..., AGENT_VEHICLE:]
    columns = [x / 20.0, y / 20.0, yaw.cos(), yaw.sin(), speed / 10.0, length / 5.0, width / 2.0]
    features = torch.cat([torch.stack(columns, -1), kinds.to(x)], -1)
    return features * seen.unsqueeze(-1), seen
