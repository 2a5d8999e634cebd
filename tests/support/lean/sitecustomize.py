"""Python runs this at the start of each process that has this folder in PYTHONPATH."""

import unused_packages

unused_packages.hide()
