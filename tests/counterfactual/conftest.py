import importlib.util
import pathlib

import pytest


@pytest.fixture(scope="session")
def busy_scenes():
    """The maker of random scenes beside this file (importlib mode has no packages to import it from)."""
    path = pathlib.Path(__file__).with_name("busy_scenes.py")
    spec = importlib.util.spec_from_file_location("counterfactual_busy_scenes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.busy_scenes
