"""Imported first by a command, puts the paths of recipes in the place of their names.

First, because oneDNN is chosen by the flags too, before TensorFlow is imported.
"""

import sys

import recipes
from pipelines.system import command_line

try:
    sys.argv = recipes.in_place_of_names(sys.argv)
except ValueError as error:
    sys.exit(command_line.paragraph(f"error: {error}"))
