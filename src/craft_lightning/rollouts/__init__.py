"""Episode loop, world pool, buffer and the streaming DataModule."""
