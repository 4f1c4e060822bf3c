"""Kinds of lanes and how OpenDRIVE's lane types map to them."""

OTHER, DRIVING, SHOULDER = 0, 1, 2

KIND_OF_TYPE = {
    "driving": DRIVING,
    "bidirectional": DRIVING,
    "entry": DRIVING,
    "exit": DRIVING,
    "onRamp": DRIVING,
    "offRamp": DRIVING,
    "connectingRamp": DRIVING,
    "shoulder": SHOULDER,
    "stop": SHOULDER,
    "parking": SHOULDER,
    "sidewalk": OTHER,
    "biking": OTHER,
}
"""OpenDRIVE lane types that become lanes; all others (none, border, median, ...) are left out."""
