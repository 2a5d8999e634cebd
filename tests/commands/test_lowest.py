"""The lowest versions that CI tries are those of setup.cfg, and each package has one."""

import configparser
import re
import subprocess
import sys

from paths import ROOT


def lowest(path):
    command = [sys.executable, ROOT / ".ci" / "lowest.py", path]
    return subprocess.run(command, capture_output=True, text=True)


def test_each_package_of_the_library_and_its_commands_has_a_lowest_version():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = config["options"]["install_requires"].split()
    needed += config["options.extras_require"]["commands"].split()
    assert len(needed) >= 8
    printed = lowest(ROOT / "setup.cfg").stdout.split()
    assert printed == [requirement.replace(">=", "==") for requirement in needed]
    assert all(re.fullmatch(r"[\w-]+==\d+(\.\d+)*", line) for line in printed)


def test_a_package_without_a_lowest_version_is_named(tmp_path):
    path = tmp_path / "setup.cfg"
    path.write_text(
        "[options]\ninstall_requires =\n    keras>=3\n    numpy\n"
        "[options.extras_require]\ncommands =\n    av>=1\n"
    )
    result = lowest(path)
    assert result.returncode == 1
    assert result.stderr == "error: numpy should have a lower bound, as in keras>=3.12.\n"
