"""The layouts by the name that `--dataset` takes. A new one is a function and a line here."""

from pipelines.layouts.csv_list import csv_list
from pipelines.layouts.folder import folder

LAYOUTS = {
    "folder": folder,
    "csv": csv_list,
}
