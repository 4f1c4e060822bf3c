"""``python -m craft_lightning.simulation.embedded``."""

import sys

from craft_lightning.simulation.embedded.cli import main

sys.exit(main())
