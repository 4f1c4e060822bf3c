"""Methods about actors: blueprints, coming and going, poses, velocities, control."""

import math
from collections.abc import Sequence
from typing import Any

from craft_lightning.errors import CraftError
from craft_lightning.simulation.embedded import dynamics, wire
from craft_lightning.simulation.embedded.physics_control import physics_control
from craft_lightning.simulation.embedded.rpc import Method
from craft_lightning.simulation.embedded.state import VEHICLE, WALKER, Actor, VehicleControl, WalkerControl
from craft_lightning.simulation.embedded.world import World


class ActorMethods:
    """What clients can do to actors; shared by single calls and batches.

    Orders to actors that are gone are accepted and ignored: a client's threads may still talk of an actor that another
    thread destroyed, and an error would end the client's process.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    # ---- coming and going ----------------------------------------------------------------------------------------

    def spawn(self, description: list[Any], transform: list[Any], parent: int = 0) -> Actor:
        """Spawn from an ActorDescription; raises CraftError where that is not possible."""
        _, type_id, attributes = description[:3]
        return self.world.spawn(str(type_id), [list(entry) for entry in attributes], wire.pose(transform), parent)

    def spawn_actor(self, description: list[Any], transform: list[Any]) -> Any:
        """Answer ``spawn_actor``."""
        return wire.value(self.spawn(description, transform).wire())

    def spawn_actor_with_parent(
        self, description: list[Any], transform: list[Any], parent: int, attachment: int = 0, socket: str = ""
    ) -> Any:
        """Answer ``spawn_actor_with_parent``; every attachment is rigid."""
        return wire.value(self.spawn(description, transform, parent).wire())

    def destroy_actor(self, actor_id: int) -> Any:
        """Answer ``destroy_actor`` with whether there was such an actor."""
        return wire.value(self.world.destroy([actor_id])[0])

    def get_actors_by_id(self, ids: list[int]) -> Any:
        """Answer ``get_actors_by_id`` with those that exist."""
        found = (self.world.state.actors.get(actor_id) for actor_id in ids)
        return wire.value([actor.wire() for actor in found if actor is not None])

    def get_actor_bounding_box(self, actor_id: int) -> Any:
        """Answer ``get_actor_bounding_box``."""
        actor = self.world.state.actors.get(actor_id)
        if actor is None:
            return wire.value(wire.box((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)))
        return wire.value(wire.box(actor.box_centre, actor.extent, actor.id))

    def get_spectator(self) -> Any:
        """Answer ``get_spectator``."""
        return wire.value(self.world.state.actors.by_id[self.world.state.spectator].wire())

    # ---- poses and velocities ------------------------------------------------------------------------------------

    def set_transform(self, actor_id: int, transform: list[Any]) -> None:
        """Put an actor somewhere."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            self._move(actor, wire.pose(transform))

    def set_location(self, actor_id: int, location: Sequence[float]) -> None:
        """Put an actor somewhere, keeping its rotation."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            self._move(actor, (*(float(number) for number in location[:3]), *actor.pose[3:]))

    def _move(self, actor: Actor, pose: tuple[float, ...]) -> None:
        if all(map(math.isfinite, pose)):
            self.world.move(actor, pose)

    def set_target_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Give an actor a velocity in the world's frame [m/s]."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            dynamics.set_velocity(actor, _three(velocity))
            self.world.state.actors.write(actor)

    def set_target_angular_velocity(self, actor_id: int, velocity: Sequence[float]) -> None:
        """Accept an angular velocity; a kinematic vehicle turns by its wheels alone."""

    def constant_velocity(self, actor_id: int, velocity: Sequence[float] | None) -> None:
        """Hold a vehicle's velocity in its own frame [m/s], or let go with None."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            actor.constant_velocity = None if velocity is None else _three(velocity)

    def add_impulse(self, actor_id: int, impulse: Sequence[float], seconds: float = 0.0) -> None:
        """Add an impulse [N s], or with ``seconds`` a force [N] over that time."""
        actor = self.world.state.actors.get(actor_id)
        if actor is None or actor.mass <= 0.0 or not actor.driven:
            return
        scale = (seconds or 1.0) / actor.mass
        pushed = [now + scale * float(push) for now, push in zip(actor.motion[6:9], _three(impulse), strict=True)]
        dynamics.set_velocity(actor, _three(pushed))
        self.world.state.actors.write(actor)

    def simulate_physics(self, actor_id: int, enabled: bool) -> None:
        """Let the server move an actor, or leave it to ``set_transform``; a body without physics stands still."""
        actor = self.world.state.actors.get(actor_id)
        if actor is None or actor.sumo:
            return
        actor.physics = bool(enabled)
        if not enabled:
            dynamics.stop(actor)
            self.world.state.actors.write(actor)

    def enable_gravity(self, actor_id: int, enabled: bool) -> None:
        """Let an actor fall, or not."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            actor.gravity = bool(enabled)

    def set_collisions(self, actor_id: int, enabled: bool) -> None:
        """Let an actor collide, or not."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            self.world.state.actors.set_solid(actor, bool(enabled))

    # ---- control -------------------------------------------------------------------------------------------------

    def control_vehicle(self, actor_id: int, control: list[Any]) -> None:
        """Set a vehicle's VehicleControl."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None and actor.kind == VEHICLE and not actor.sumo:
            throttle, steer, brake, hand_brake, reverse, manual, gear = control[:7]
            pedals = _number(throttle), _number(steer), _number(brake)
            actor.control = VehicleControl(*pedals, bool(hand_brake), bool(reverse), bool(manual), int(gear))

    def control_walker(self, actor_id: int, control: list[Any]) -> None:
        """Set a walker's WalkerControl, which ends any target velocity."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None and actor.kind == WALKER and not actor.sumo:
            actor.walk = WalkerControl(_three(control[0]), _number(control[1]), bool(control[2]))
            actor.target_velocity = None

    def walker_state(self, actor_id: int, transform: list[Any], speed: float) -> None:
        """Put a walker somewhere with a speed along its heading, as walker AI does."""
        self.set_transform(actor_id, transform)
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            actor.speed = float(speed)

    def light_state(self, actor_id: int, bits: int | list[int]) -> None:
        """Set the bits of a vehicle's lamps; single calls send them as a list of one, batches as a number."""
        actor = self.world.state.actors.get(actor_id)
        if actor is not None:
            actor.light_state = int(bits[0] if isinstance(bits, list) else bits)

    def get_light_states(self) -> Any:
        """Answer ``get_vehicle_light_states``."""
        vehicles = (actor for actor in self.world.state.actors.order if actor.kind == VEHICLE)
        return wire.value([[actor.id, actor.light_state] for actor in vehicles])

    def get_light_state(self, actor_id: int) -> Any:
        """Answer ``get_vehicle_light_state``."""
        actor = self.world.state.actors.get(actor_id)
        return wire.value([actor.light_state if actor is not None else 0])

    def get_physics_control(self, actor_id: int) -> Any:
        """Answer ``get_physics_control`` with what of the bicycle model CARLA has a place for."""
        actor = self.world.state.actors.get(actor_id)
        if actor is None or actor.kind != VEHICLE:
            raise CraftError(f"actor {actor_id} is no vehicle and has no physics control")
        return wire.value(physics_control(actor))

    def table(self) -> dict[str, Method]:
        """Return the methods by name."""
        void = self._void
        none = lambda *ignored: wire.VOID  # noqa: E731
        return {
            "get_actor_definitions": lambda: wire.value(self.world.library.definitions),
            "get_spectator": self.get_spectator,
            "get_actors_by_id": self.get_actors_by_id,
            "get_actor_bounding_box": self.get_actor_bounding_box,
            "spawn_actor": self.spawn_actor,
            "spawn_actor_with_parent": self.spawn_actor_with_parent,
            "destroy_actor": self.destroy_actor,
            "get_sensor_token": self.get_sensor_token,
            "set_actor_transform": void(self.set_transform),
            "set_actor_location": void(self.set_location),
            "set_actor_target_velocity": void(self.set_target_velocity),
            "set_actor_target_angular_velocity": void(self.set_target_angular_velocity),
            "enable_actor_constant_velocity": void(self.constant_velocity),
            "disable_actor_constant_velocity": void(lambda actor_id: self.constant_velocity(actor_id, None)),
            "add_actor_impulse": void(self.add_impulse),
            "add_actor_impulse_at_location": void(lambda actor_id, push, where: self.add_impulse(actor_id, push)),
            "add_actor_force": void(lambda actor_id, push: self.add_impulse(actor_id, push, self.world.delta)),
            "add_actor_force_at_location": void(
                lambda actor_id, push, where: self.add_impulse(actor_id, push, self.world.delta)
            ),
            "add_actor_angular_impulse": none,
            "add_actor_torque": none,
            "set_actor_simulate_physics": void(self.simulate_physics),
            "set_actor_enable_gravity": void(self.enable_gravity),
            "set_actor_collisions": void(self.set_collisions),
            "set_actor_dead": none,
            "set_actor_autopilot": none,
            "apply_control_to_vehicle": void(self.control_vehicle),
            "apply_control_to_walker": void(self.control_walker),
            "apply_physics_control": none,
            "get_physics_control": self.get_physics_control,
            "get_vehicle_light_states": self.get_light_states,
            "get_vehicle_light_state": self.get_light_state,
            "set_vehicle_light_state": void(self.light_state),
            # Vehicles are boxes without doors; whoever opens one may go on.
            "open_vehicle_door": none,
            "close_vehicle_door": none,
            "show_vehicle_debug_telemetry": none,
            "set_wheel_steer_direction": none,
            "get_wheel_steer_angle": self.get_wheel_steer_angle,
        }

    def get_sensor_token(self, stream: int) -> Any:
        """Answer ``get_sensor_token``: where a stream is."""
        self.world.expect_listener(stream)
        return wire.value([wire.stream_token(stream, self.world.stream_port)])

    def get_wheel_steer_angle(self, actor_id: int, wheel: int = 0) -> Any:
        """Answer ``get_wheel_steer_angle`` [deg] of the front wheels."""
        actor = self.world.state.actors.get(actor_id)
        degrees = 57.29577951308232 * actor.steer_angle if actor is not None and wheel < 2 else 0.0
        return wire.value(degrees)

    @staticmethod
    def _void(method: Method) -> Method:
        def answer(*arguments: Any) -> Any:
            method(*arguments)
            return wire.VOID

        return answer


def _number(sent: float) -> float:
    """Return what a client sent as a finite number: not-a-number and infinities become 0, or they would spread."""
    number = float(sent)
    return number if math.isfinite(number) else 0.0


def _three(numbers: Sequence[float]) -> tuple[float, float, float]:
    return _number(numbers[0]), _number(numbers[1]), _number(numbers[2])
