"""The layouts by the name that `--dataset` takes. A new one is a function and a line here."""

from pipelines.layouts.csv_list import csv_list
from pipelines.layouts.folder import folder
from pipelines.layouts.hmdb51 import hmdb51
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
