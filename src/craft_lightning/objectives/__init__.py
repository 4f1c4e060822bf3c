"""Loss terms as Lightning callbacks beside their pure functions."""
