"""OpenDRIVE to arrays, route planning and built-in towns."""
