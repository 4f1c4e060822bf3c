"""The adapter contract, the family bases and vocabulary building."""
