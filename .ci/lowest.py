"""Prints the lowest versions that setup.cfg allows, as constraints for pip.

python .ci/lowest.py [SETUP_CFG]
"""

import configparser
import re
import sys
from pathlib import Path


def constraints(path: Path) -> list[str]:
    """`name==version` for each package that the library and its commands need."""
    config = configparser.ConfigParser()
    config.read_string(path.read_text())
    needed = config["options"]["install_requires"] + config["options.extras_require"]["commands"]
    return [_lowest(requirement) for requirement in needed.split("\n") if requirement]


def _lowest(requirement: str) -> str:
    match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if not match:
        sys.exit(f"error: {requirement} should have a lower bound, as in keras>=3.12.")
    return f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    setup_cfg = Path(sys.argv[1] if len(sys.argv) > 1 else "setup.cfg")
    print("\n".join(constraints(setup_cfg)))
