"""Who drives which route where: worlds change town rarely, and what a route yields depends on its number alone."""

from collections.abc import Sequence

import numpy as np

from craft_lightning.roads.routes import RouteConfig

EPISODES_A_VISIT = 4  # training episodes that a world drives in a town before it moves on


def evaluation_shares(routes: Sequence[RouteConfig], worlds: int) -> list[list[int]]:
    """Deal the routes of a suite out to the worlds, town after town.

    Every world gets an equal share of every town and visits each town once. The deal depends on the suite alone, so
    that a resumed evaluation drives every route in the same world (and row of the batch) as an uninterrupted one.

    Args:
        routes: the suite; a suite of one town is dealt out in its order.
        worlds: number of worlds.

    Returns:
        For each world the indices of its routes in the order of driving.

    """
    order = sorted(range(len(routes)), key=lambda index: (routes[index].town, index))
    return [order[world::worlds] for world in range(worlds)]


def training_order(routes: Sequence[RouteConfig], worlds: int, key: Sequence[int]) -> list[list[int]]:
    """Shuffle training routes and deal them out; a world begins its list anew when it is through.

    Routes of one town are shuffled and dealt out one by one. Those of several are cut into visits of a few routes of
    one town, and the visits are shuffled, so that towns keep their share.

    Args:
        routes: the training routes.
        worlds: number of worlds.
        key: seed of the shuffle.

    Returns:
        For each world the indices of its routes in the order of driving.

    """
    generator = np.random.default_rng(list(key))
    order = generator.permutation(len(routes)).tolist()
    towns = sorted({route.town for route in routes})
    if len(towns) < 2:
        # A stride over all routes, round and round; after as many episodes as there are routes it repeats itself.
        length = len(order)
        return [[order[(world + count * worlds) % length] for count in range(length)] for world in range(worlds)]
    visits = []
    for town in towns:
        own = [index for index in order if routes[index].town == town]
        visits += [own[begin : begin + EPISODES_A_VISIT] for begin in range(0, len(own), EPISODES_A_VISIT)]
    visits = [visits[number] for number in generator.permutation(len(visits))]
    # With fewer visits than worlds some worlds share one.
    shares = [visits[world % len(visits) :: worlds] for world in range(worlds)]
    return [[index for visit in share for index in visit] for share in shares]
