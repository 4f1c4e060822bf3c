"""Numbers and names that every room agrees on; imports nothing, so that world processes stay light."""

# Ticks of the world (20 Hz) and of the tracker inside one decision.
TICK_SECONDS = 0.05
TICKS_PER_DECISION = 10
TRACKER_SECONDS = 0.1

# Bird's-eye raster given to policies: rows run forward (row 0 is farthest ahead), columns run left to right.
BEV_CHANNELS = ("drivable", "lane_marking", "route", "vehicle", "walker", "stop_line_red")
BEV_CELLS = 96
BEV_METRES_PER_CELL = 0.5
BEV_METRES_AHEAD = 36.0  # the ego's centre lies this far from the front edge and in the middle column

# Columns of Observation vectors.
EGO_FEATURES = ("speed", "acceleration", "yaw_rate", "steer", "speed_limit")
ROUTE_FEATURE_POINTS = 20  # points every 2 m along the route from the ego's projection, ego frame
ROUTE_FEATURE_SPACING = 2.0
OBJECT_FEATURES = ("x", "y", "yaw", "speed", "length", "width", "kind")
MAX_OBJECTS = 20  # nearest road users, the first rows of an observation's objects
MAX_CLOSED_LINES = 4  # nearest stop lines of the route that are red or yellow, its last rows

# Sizes of a Scene.
MAX_AGENTS = 32
ROUTE_POINTS = 110  # 1 m spacing, the first point ROUTE_BEHIND metres behind the ego's projection
ROUTE_BEHIND = 10.0
MAX_STOP_LINES = 8
MAX_ROUTE_LANES = 32

AGENT_NONE, AGENT_VEHICLE, AGENT_WALKER, AGENT_CYCLIST, AGENT_STATIC = range(5)
OBJECT_CLOSED_LINE = 5  # beside the AGENT_* kinds in an observation's objects
LINE_NONE, LINE_RED, LINE_STOP_SIGN = range(3)

# Columns of Transition.events, in this order everywhere: what happened while one decision was executed (0 or 1).
EVENTS = (
    "collision",  # a new collision faster than 0.1 m/s
    "red_light",  # the front bumper crossed a stop line while it was red
    "stop_sign",  # left a stop sign's zone without having stopped
    "offroad",
    "offroute",
    "emergency_lane",
    "opposite_lane",
    "stop_zone",  # inside the stop-required zone of a red light faster than 0.1 m/s
    "go_zone",  # inside the go-required zone of a green light, clear path, slower than 2 m/s
)
