"""The parts of the page that `keras-rms report` writes."""
