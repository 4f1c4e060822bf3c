"""What is timed, side by side with a reference; ``python -m benchmarks`` prints one table."""
