"""Batches: a list of commands in one call, some of which spawn an actor and go on with it."""

import inspect
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.methods_actors import ActorMethods
from craft_lightning.simulation.embedded.rpc import Method

SPAWN, DESTROY = 0, 1


class Batches:
    """Runs ``apply_batch``.

    Args:
        actors: what can be done to actors.
        lights: methods about lights, for the command that sets one.

    """

    def __init__(self, actors: ActorMethods, lights: dict[str, Method]) -> None:
        self._actors = actors
        delta = actors.world
        self._commands: dict[int, Method] = {
            2: actors.control_vehicle,
            4: actors.control_walker,
            6: actors.set_transform,
            7: actors.walker_state,
            8: actors.set_target_velocity,
            9: actors.set_target_angular_velocity,
            10: actors.add_impulse,
            11: lambda actor_id, push: actors.add_impulse(actor_id, push, delta.delta),
            14: actors.simulate_physics,
            15: actors.enable_gravity,
            18: actors.light_state,
            19: actors.set_location,
            21: lights["set_traffic_light_state"],
        }
        self._counts = {index: len(inspect.signature(method).parameters) for index, method in self._commands.items()}
        # Ackermann, physics control, angular impulse, torque, autopilot, telemetry, console: nothing here answers them.
        self._ignored = frozenset({3, 5, 12, 13, 16, 17, 20})

    def apply_batch(self, commands: list[Any], do_tick: bool = False) -> Any:
        """Run all commands in order and answer with one entry a command; then tick if asked to."""
        destroyed = self._destroy(commands)
        answers = [self._run(command, destroyed) for command in commands]
        if do_tick:
            self._actors.world.tick()
        return answers

    def _destroy(self, commands: list[Any]) -> dict[int, bool] | None:
        """Destroy everything at once if the batch does nothing else, which is how episodes end."""
        wanted = [command[0][1][0] for command in commands if command[0][0] == DESTROY]
        if len(wanted) < 2 or len(wanted) != len(commands):
            return None
        return dict(zip(wanted, self._actors.world.destroy(wanted), strict=True))

    def _run(self, command: Any, destroyed: dict[int, bool] | None) -> list[Any]:
        index, fields = command[0]
        try:
            if index == SPAWN:
                return self._spawn(fields)
            if index == DESTROY:
                actor_id = fields[0]
                there = destroyed[actor_id] if destroyed is not None else self._actors.world.destroy([actor_id])[0]
                return (
                    wire.command_done(actor_id) if there else wire.command_failed("unable to destroy actor: not found")
                )
            actor_id = fields[0]
            method = self._commands.get(index)
            if method is not None:
                method(*fields[: self._counts[index]])
            elif index not in self._ignored:
                return wire.command_failed(f"command {index} of a batch is not served by the embedded server")
            return wire.command_done(actor_id)
        except CraftError as refusal:
            return wire.command_failed(str(refusal))

    def _spawn(self, fields: list[Any]) -> list[Any]:
        description, transform, parent = fields[0], fields[1], fields[2]
        above = int(parent[1]) if isinstance(parent, list) and parent and parent[0] else 0
        actor = self._actors.spawn(description, transform, above)
        for following in fields[-1]:
            index, arguments = following[0]
            # The client wrote 0 for "the actor that was just spawned".
            self._run([[index, [actor.id, *arguments[1:]]]], None)
        return wire.command_done(actor.id)
