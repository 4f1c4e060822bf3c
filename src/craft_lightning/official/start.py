"""Runs an official evaluator inside its own Python, which is newer than what it was written for.

``python -m craft_lightning.official.start PROGRAM [OPTIONS]`` mends what newer Pythons took away, in memory, and runs
the program as it is. Nothing of the evaluator is changed on disk.
"""

import importlib
import runpy
import sys
import types


def mend() -> None:
    """Give back what Python 3.9 to 3.12 removed and evaluators use.

    ``Element.getchildren`` is gone since 3.9; only the element class that is written in Python can be given a method,
    so that it takes the place of the one written in C. ``distutils`` is gone since 3.12; setuptools carries it.
    """
    name = "xml.etree.ElementTree"
    for module in ("_elementtree", name, "xml.etree.cElementTree"):
        sys.modules.pop(module, None)
    sys.modules["_elementtree"] = None  # type: ignore[assignment]  # refuses the import
    try:
        element_tree: types.ModuleType = importlib.import_module(name)
    finally:
        del sys.modules["_elementtree"]
    sys.modules["xml.etree"].ElementTree = element_tree  # type: ignore[attr-defined]
    element = element_tree.Element
    element.getchildren = lambda self: list(self)
    # These two answer with views where the class in C answers with lists.
    element.items = lambda self: list(self.attrib.items())
    element.keys = lambda self: list(self.attrib)
    if sys.version_info >= (3, 12):
        importlib.import_module("setuptools")  # puts its distutils in place


def main() -> None:
    """Run the program that the command line names."""
    sys.argv = sys.argv[1:]
    mend()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
