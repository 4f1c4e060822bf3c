"""A CARLA-protocol server in its own process, with SUMO traffic."""
