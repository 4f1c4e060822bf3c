"""Driving metrics as torchmetrics classes, and the result-file parser."""
