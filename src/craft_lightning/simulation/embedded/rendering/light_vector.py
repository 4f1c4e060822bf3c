"""Layout of the numbers that weather hands to the shading kernel."""

# Places in the light vector; the first six hold three numbers each.
SUN, AMBIENT, SUNLIGHT, ZENITH, HORIZON, FOG = 0, 3, 6, 9, 12, 15
WETNESS, PUDDLES, CLOUDS, LAMP, CLOUD_DRIFT, STARS = range(18, 24)
LIGHT_NUMBERS = 24

FAR = 1500.0  # m; farther ground is the horizon's colour
FOG_STEPS = 2.0  # entries of the fog table a metre
