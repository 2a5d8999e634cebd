"""Python runs this at the start of each process that has this folder in PYTHONPATH."""

import garbage
import unused_packages

garbage.collect_seldom()
unused_packages.hide()
