"""The proxy against the truth: candidates of visited states are really executed in branches of the world."""
