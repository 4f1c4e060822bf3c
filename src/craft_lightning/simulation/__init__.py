"""All that speaks to a CARLA server through the real client."""
