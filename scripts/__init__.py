"""The commands. Installed, this folder is the package `keras_rms_commands`."""
