"""Closed-loop fine-tuning of driving policies as PyTorch Lightning callbacks.

Importing this package imports nothing heavy, so that ``lightning fit --help`` answers at once.
"""

__version__ = "0.1.0"
