"""A CARLA-protocol server in its own process, with SUMO traffic: the default world, which needs no Unreal.

``python -m craft_lightning.simulation.embedded --port 2000 --town craftville`` serves the unmodified client of the
wheel ``carla==0.9.16``. This is CARLA's side of the wire, so poses in this package are in CARLA's left-handed frame
(x forward, y right, yaw clockwise in degrees), unlike everywhere else in the library; nothing imports from here.

``state.WorldState`` holds what changes; ``world.World`` says what a tick does to it; ``methods_*`` and ``batches`` are
what clients can ask for; ``rpc`` and ``streams`` are the sockets; ``engine``, ``traffic``, ``mirror`` and ``yielding``
are SUMO.
"""
