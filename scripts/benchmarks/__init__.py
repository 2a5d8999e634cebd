"""The parts of `keras-rms benchmark`, each with a function `run(json_path)`."""
