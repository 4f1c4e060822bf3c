"""Small pre-trained checkpoints as package data."""
