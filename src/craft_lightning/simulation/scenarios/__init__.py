"""Scenario behaviours on py_trees, built on the CARLA API alone."""
