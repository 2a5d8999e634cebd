"""The parts of `scripts/benchmark.py`, each with a function `run(json_path)`."""
