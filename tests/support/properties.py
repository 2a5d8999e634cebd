"""How long properties are tried: the same few examples each time, or new ones for longer.

KERAS_RMS_FUZZ_SECONDS=1 tries a hundred times as many, other ones each time; what fails is printed
with what makes it again.
"""

import os

import hypothesis


def tried(examples):
    """Settings of a property that is tried with so many examples."""
    long = bool(os.environ.get("KERAS_RMS_FUZZ_SECONDS"))
    return hypothesis.settings(
        max_examples=examples * (100 if long else 1),
        derandomize=not long,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
