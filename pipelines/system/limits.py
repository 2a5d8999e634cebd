"""How large a frame may be, wherever it comes from: larger ones cost gigabytes each."""

MAX_PIXELS = 1 << 26  # 8192 x 8192: twice an 8K frame
MAX_ASPECT = 64  # with the short side scaled to 256, evaluation still fits into memory
