"""What cameras see: a z-buffer of boxes and prisms over a painted ground. Loaded with the first camera, not before."""
