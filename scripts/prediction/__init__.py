"""What `keras-rms predict` reads and writes."""
