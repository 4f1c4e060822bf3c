"""Command line of the embedded server."""

import argparse
import logging
import sys

from craft_lightning.simulation.embedded import wire
from craft_lightning.simulation.embedded.server import serve


def main(arguments: list[str] | None = None) -> int:
    """Serve one world until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m craft_lightning.simulation.embedded",
        description="A CARLA-protocol server with SUMO traffic, for the unmodified client of carla==" + wire.VERSION,
    )
    parser.add_argument("--port", type=int, default=2000, help="RPC port; streams take the next one; 0: any free block")
    parser.add_argument("--town", default="craftville", help="name of a built-in town, or path of an OpenDRIVE file")
    parser.add_argument("--maps", default="", help="folder of further OpenDRIVE files that clients may load by name")
    parser.add_argument("--parent-pid", type=int, default=0, help="end when this process ends")
    parser.add_argument(
        "--claim-version", default=wire.VERSION, help="version to claim, for testing how clients take a mismatch"
    )
    parser.add_argument("--verbose", action="store_true", help="tell about refused calls on standard error")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO if options.verbose else logging.CRITICAL, stream=sys.stderr)
    return serve(options.town, options.port, options.parent_pid, options.claim_version, options.maps)
