"""The page of `keras-rms demo-server`: what it shows, and how it looks."""
