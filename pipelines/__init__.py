"""From video files to clips; knows nothing of Keras and of the networks."""

import os

# TensorFlow asks gs:// for 64 MB at every opening of a file, where a clip has one. It reads this
# when it is imported, so it is set before.
os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "1")
