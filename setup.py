"""What setup.cfg cannot say: scripts/ is installed under a name that is nobody else's."""

from setuptools import find_packages, setup

COMMANDS = "keras_rms_commands"

setup(
    packages=[
        *find_packages(include=["keras_rms", "keras_rms.*", "pipelines", "pipelines.*"]),
        COMMANDS,
        *(f"{COMMANDS}.{package}" for package in find_packages("scripts")),
    ],
    package_dir={COMMANDS: "scripts"},
)
