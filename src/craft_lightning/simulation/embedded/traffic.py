"""Traffic from SUMO as actors: started, kept up and taken away with the actor ``controller.traffic.sumo``."""

from typing import TYPE_CHECKING

import libsumo
import numpy as np

from craft_lightning.simulation.embedded import drivers
from craft_lightning.simulation.embedded.mirror import Mirror
from craft_lightning.simulation.embedded.moved_rows import MovedRows
from craft_lightning.simulation.embedded.pedestrians import Pedestrians
from craft_lightning.simulation.embedded.state import PROP, VEHICLE, WALKER, Actor
from craft_lightning.simulation.embedded.streets import Streets, random_way, read_streets
from craft_lightning.simulation.embedded.traffic_options import TrafficOptions
from craft_lightning.simulation.embedded.yielding import HARD_BRAKE, speed_caps, within_look

if TYPE_CHECKING:
    from craft_lightning.simulation.embedded.world import World

# Distances between the centres of bodies when vehicles are put in [m].
CLEAR_OF_CLIENTS = 12.0
CLEAR_OF_TRAFFIC = 18.0
START_CLEAR_OF_CLIENTS = 25.0
RESPAWN_CLEAR_OF_CLIENTS = 70.0
# A vehicle that found no gap within this time is put in elsewhere [s].
PATIENCE = 1.0
RESPAWN_SECONDS = 1.0  # between two looks for missing vehicles
# SUMO's steps span two ticks that are no longer than this [s]: its drivers and pedestrians decide ten times a second,
# and the tick in between shows them half-way.
HALVED_TICK = 0.051
EDGES_OF_A_WAY = 120
# SUMO's speed modes: all rules; all but the limit on braking, for emergencies.
ALL_RULES, MAY_BRAKE_HARD = 31, 27


class Traffic:
    """SUMO's vehicles and walkers of one episode.

    Attributes:
        controller: id of the controller actor, 0 while there is no traffic.
        mirror: client-controlled vehicles as SUMO sees them.
        streets: where traffic can go.

    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.controller = 0
        self.options = TrafficOptions(vehicles=0)
        self.random = np.random.default_rng(0)
        self.rows = MovedRows()
        self.pedestrians = Pedestrians(self)
        self._pending: dict[str, tuple[str, float]] = {}  # put into SUMO but not on the road yet: blueprint, until when
        self._held: dict[str, int] = {}  # hit vehicles and until which tick they stand
        self._restrained: set[str] = set()
        self._count = 0
        self._tick = 0
        self.streets: Streets = read_streets()
        self.mirror = Mirror(world.town, self.streets.edges[0])
        self._read_clock()

    def _read_clock(self) -> None:
        """Take over how long a tick is: ticks of a step of SUMO's, and between two looks for missing vehicles."""
        self._ticks = 2 if self.world.delta <= HALVED_TICK else 1
        self._respawn_every = max(1, round(RESPAWN_SECONDS / (self._ticks * self.world.delta))) * self._ticks

    # ---- beginning and end ---------------------------------------------------------------------------------------

    def begin(self, controller: int, options: TrafficOptions) -> None:
        """Fill the streets: load SUMO anew with the seed, put vehicles in, and let them run for the warm-up.

        Vehicles are spread over the town and move when this returns; none is near a body that a client controls.
        """
        self.controller, self.options = controller, options
        self._fill()

    def restart(self) -> None:
        """Begin anew with another length of SUMO's steps, traffic from its seed."""
        self.world.destroy_quietly(self._take_all())
        self._fill()

    def end(self) -> set[int]:
        """Empty the streets and return the ids of the actors that go."""
        self.controller, self.options = 0, TrafficOptions(vehicles=0)
        return self._take_all()

    def _take_all(self) -> set[int]:
        for name in self._pending:
            libsumo.vehicle.remove(name)
        self.pedestrians.call_off()
        self._pending.clear()
        self._held.clear()
        self._restrained.clear()
        return self.rows.actor_ids()

    def _fill(self) -> None:
        world, options = self.world, self.options
        delta = world.delta
        self.random = np.random.default_rng([options.seed, 0x7AFF1C])
        self._read_clock()
        world.sumo.load(world.town.net, delta * self._ticks, options.seed % (1 << 31))
        self.mirror = Mirror(world.town, self.streets.edges[0])
        self._tick = 0
        self.rows.clear()
        self.pedestrians.clear()
        self._count = 0
        if not self.controller:
            world.board.refresh()
            return
        # Every seed meets the lights at another moment of their cycle.
        world.board.reset({name: float(self.random.random() * 200.0) for name in world.board.plans})
        self._put_in(options.vehicles, START_CLEAR_OF_CLIENTS)
        self.pedestrians.put_in(options.walkers)
        self._warm_up(options.warmup)
        self._clear_clients(delta)

    def _warm_up(self, seconds: float) -> None:
        """Let ``seconds`` pass that nobody sees."""
        world, step = self.world, self._ticks * self.world.delta
        left = round(seconds / step)
        while left > 0:
            # Where there is nobody to yield to, one must know who is where only when missing ones are looked for.
            unread = 0 if self._bodies() else min(left - 2, self._respawn_every // self._ticks - 1)
            for _ in range(unread):
                world.board.advance(step)
                self._advance()
            if unread > 0:
                self._tick += unread * self._ticks
                self.rows.forget_places()
                left -= unread
            world.board.advance(step)
            for _ in range(self._ticks):
                self.step(world.delta)
            left -= 1

    def _clear_clients(self, delta: float) -> None:
        """Move vehicles that came close to a client's body during the warm-up elsewhere."""
        for _ in range(3):
            close = self._near_clients(self.rows.xy(), CLEAR_OF_CLIENTS)
            names = [name for name, near in zip(self.rows.names, close, strict=False) if near]
            if not names:
                return
            gone = {self.rows.actor_of(name) for name in names}
            self.world.destroy_quietly(gone)
            self._put_in(len(names), START_CLEAR_OF_CLIENTS)
            for _ in range(self._ticks):
                self.world.board.advance(delta)
                self.step(delta)

    # ---- the step ------------------------------------------------------------------------------------------------

    def step(self, delta: float) -> None:
        """Advance traffic by one tick and bring the actors up to date; SUMO makes its step at its first tick."""
        world = self.world
        gone: set[int] = set()
        if self._tick % self._ticks == 0:
            self._advance()
            if self.controller:
                gone = self.rows.read(world, delta, self._ticks)
        self._tick += 1
        if not self.controller:
            return
        if gone:
            world.destroy_quietly(gone)
        end = self._tick % self._ticks == 0
        self.rows.show(world, end)
        if end:
            self._yield(self._ticks * delta)
        if self._tick % self._respawn_every == 0:
            self._keep_up()

    def _advance(self) -> None:
        """Let SUMO make a step, and take in whom it put on the road."""
        # At the end of the step clients' vehicles will be ahead of where they are now.
        self.mirror.follow(self._driven(), (self._ticks - 1) * self.world.delta)
        if self._held:
            self._release()
        libsumo.simulationStep()
        if self.controller:
            self._adopt()
            self.pedestrians.adopt()

    def _driven(self) -> list[Actor]:
        state = self.world.state
        return [state.actors.by_id[actor_id] for actor_id in state.driven]

    def _adopt(self) -> None:
        """Make actors of the vehicles that SUMO put on the road in this step."""
        if not self._pending:
            return
        for name in libsumo.simulation.getDepartedIDList():
            blueprint, _ = self._pending.pop(name, ("", 0.0))
            if blueprint:
                colour = drivers.PALETTE[int(self.random.integers(len(drivers.PALETTE)))]
                attributes = drivers.attributes(self.world.library.get(blueprint), colour)
                actor = self.world.adopt(blueprint, VEHICLE, (0.0,) * 6, attributes, name)
                self.rows.add(name, actor)

    def _keep_up(self) -> None:
        """Put vehicles in for those that arrived or found no gap, out of the clients' sight."""
        now = libsumo.simulation.getTime()
        for name in [name for name, (_, until) in self._pending.items() if until < now]:
            del self._pending[name]
            libsumo.vehicle.remove(name)
        missing = self.options.vehicles - self.rows.vehicles - len(self._pending)
        if missing > 0:
            self._put_in(missing, RESPAWN_CLEAR_OF_CLIENTS)
        self.pedestrians.keep_up()

    def _put_in(self, count: int, clear_of_clients: float) -> None:
        """Put vehicles into SUMO at places drawn at random that are clear of others."""
        streets, random = self.streets, self.random
        known = self.rows.xy()
        taken, full = np.concatenate([known, np.empty((max(count, 0), 2))]), len(known)
        near = self._near_clients(streets.place_xy, clear_of_clients)
        now = libsumo.simulation.getTime()
        for place in random.permutation(len(streets.place_xy)):
            if count == 0:
                return
            xy = streets.place_xy[place]
            if near[place] or (full and np.square(taken[:full] - xy).sum(1).min() < CLEAR_OF_TRAFFIC**2):
                continue
            taken[full] = xy
            full += 1
            self._count += 1
            name = f"traffic{self._count}"
            way = random_way(streets, int(streets.place_edge[place]), EDGES_OF_A_WAY, random)
            blueprint = drivers.put_in(
                name,
                way,
                int(streets.place_lane[place]),
                float(streets.place_position[place]),
                self.options,
                self.world.library,
                random,
            )
            self._pending[name] = (blueprint, now + PATIENCE)
            count -= 1

    def _near_clients(self, xy: np.ndarray, distance: float) -> np.ndarray:
        """Return [N] whether a place is near a body that SUMO does not drive."""
        near = np.zeros(len(xy), bool)
        for actor in self.world.state.actors.order:
            if actor.kind in (VEHICLE, WALKER) and not actor.sumo:
                near |= np.square(xy - np.array(actor.motion[:2])).sum(1) < distance**2
        return near

    # ---- what clients do to traffic ------------------------------------------------------------------------------

    def _bodies(self) -> list[Actor]:
        """Return the bodies that SUMO does not know."""
        bodies = [actor for actor in self._driven() if actor.kind == WALKER or actor.id in self.mirror.loose]
        return bodies + self.world.props()

    def _yield(self, delta: float) -> None:
        """Let vehicles brake for bodies that SUMO does not know."""
        bodies = self._bodies()
        if not self.rows.vehicles or not (bodies or self._restrained):
            return
        names = self.rows.names
        near, free = np.zeros(0, np.int64), self._restrained
        if bodies:
            shapes = np.array([_shape(actor) for actor in bodies])
            near = np.flatnonzero(within_look(self.rows.xy(), shapes[:, :2]))
        if len(near):
            traffic = self.rows.shapes(near)
            caps, speeds = speed_caps(traffic, shapes), traffic[:, 5]
            # A vehicle that may go much faster than it does needs no restraint.
            tight = caps < speeds + 3.0
            for row in np.flatnonzero(tight).tolist():
                name = names[near[row]]
                if name in self._held:
                    continue
                if name not in self._restrained:
                    self._restrained.add(name)
                    libsumo.vehicle.setSpeedMode(name, MAY_BRAKE_HARD)
                libsumo.vehicle.setSpeed(name, max(float(caps[row]), float(speeds[row]) - HARD_BRAKE * delta, 0.0))
            free = self._restrained - {names[row] for row in near[tight].tolist()}
        for name in sorted(free):
            self._restrained.discard(name)
            if name not in self._held:
                _let_go(name)

    def hit(self, actor: Actor, seconds: float) -> None:
        """Make one of SUMO's stand for a while."""
        if actor.kind == WALKER:
            self.pedestrians.hit(actor)
            return
        if actor.sumo not in self._held:
            libsumo.vehicle.setSpeedMode(actor.sumo, 0)
            libsumo.vehicle.setSpeed(actor.sumo, 0.0)
        self._held[actor.sumo] = self._tick + round(seconds / self.world.delta)

    def _release(self) -> None:
        for name in [name for name, until in self._held.items() if until <= self._tick]:
            del self._held[name]
            if name in self.rows:
                _let_go(name)

    def forget(self, gone: set[int]) -> None:
        """Take the SUMO side of actors away that leave the world."""
        for actor_id in sorted(gone):
            name = self.rows.remove(actor_id)
            if name is not None:
                self._held.pop(name, None)
                self._restrained.discard(name)
            else:
                self.mirror.forget(actor_id)


def _let_go(name: str) -> None:
    libsumo.vehicle.setSpeedMode(name, ALL_RULES)
    libsumo.vehicle.setSpeed(name, -1.0)


def _shape(actor: Actor) -> tuple[float, ...]:
    """Return x, y, yaw [rad], half length, half width, vx, vy."""
    motion = actor.motion
    moving = actor.kind != PROP
    return (
        motion[0],
        motion[1],
        float(np.radians(motion[4])),
        actor.extent[0],
        actor.extent[1],
        motion[6] if moving else 0.0,
        motion[7] if moving else 0.0,
    )
