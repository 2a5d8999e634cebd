"""The layouts by the name that `--dataset` takes. A new one is a function and a line here."""

from pipelines.layouts.cifar100 import cifar100
from pipelines.layouts.csv_list import csv_list
from pipelines.layouts.folder import folder
from pipelines.layouts.hmdb51 import hmdb51
from pipelines.layouts.image_folder import image_folder
from pipelines.layouts.kinetics import kinetics, mini_kinetics
from pipelines.layouts.something_something import something_something_v2
from pipelines.layouts.ucf101 import ucf101

LAYOUTS = {
    "folder": folder,
    "csv": csv_list,
    "kinetics400": kinetics,
    "kinetics600": kinetics,
    "kinetics700": kinetics,
    "mini_kinetics": mini_kinetics,
    "something_something_v2": something_something_v2,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "cifar100": cifar100,
    "image_folder": image_folder,
}

# The share of videos that may fail before a conversion does. Kinetics loses videos every year; the
# paper lacked 8 % of it.
USUAL_FAILURES = {
    "kinetics400": 0.2,
    "kinetics600": 0.2,
    "kinetics700": 0.2,
    "mini_kinetics": 0.2,
}
DEFAULT_USUAL_FAILURES = 0.01

# Arguments of `conversion_plan.Settings`. Images keep their size, and JPEGs every byte.
USUAL_SETTINGS = {
    "cifar100": {"short_side": None, "quality": 1},
    "image_folder": {"short_side": None, "quality": 1},
}
DEFAULT_USUAL_SETTINGS = {"short_side": 256, "quality": 4}
