"""The runs that an analysis looks at, and its picture and numbers as files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags
from matplotlib.figure import Figure

from analysis.pictures import save
from analysis.run_names import distinct_names
from analysis.tables import csv_file
from pipelines.system import command_help, output_paths, whole_files

command_help.section("What to look at, and what to write")
_WORK_DIRS = flags.DEFINE_list(
    "work_dir", None, "Look at the runs in these folders, with commas between."
)
_NAMES = flags.DEFINE_list(
    "names", None, "Call the runs so in the picture. By default after their folders."
)
_OUTPUT = flags.DEFINE_string(
    "output", "analysis", "Write the picture (PNG) and its numbers (CSV) into this folder."
)
output_paths.names_folder(_OUTPUT)


def folders() -> list[str]:
    """The folders of the runs.

    Raises:
        ValueError: If none is named.
    """
    if not _WORK_DIRS.value:
        raise ValueError("Name at least one run: --work_dir=runs/plain,runs/rms")
    return _WORK_DIRS.value


def run_names() -> list[str]:
    """A name a run.

    Raises:
        ValueError: If there are not as many names as runs, or two are the same.
    """
    if not _NAMES.value:
        return distinct_names(folders())
    if len(_NAMES.value) != len(folders()):
        raise ValueError(
            f"--names must have a name for each of the {len(folders())} runs of --work_dir. "
            f"Received: {len(_NAMES.value)} names"
        )
    if len(set(_NAMES.value)) < len(_NAMES.value):
        raise ValueError(f"--names must differ. Received: --names={','.join(_NAMES.value)}")
    return _NAMES.value


def write(
    name: str, columns: Sequence[str], rows: Iterable[dict], figure: Figure, text: str = ""
) -> None:
    """Writes NAME.png and NAME.csv and says so.

    Args:
        name: Of the analysis.
        columns: Of the CSV file.
        rows: Its rows, by column.
        figure: The picture.
        text: What to print before.
    """
    folder = Path(_OUTPUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    table = csv_file(columns, ([row.get(column) for column in columns] for row in rows))
    whole_files.write(folder / f"{name}.csv", table)
    save(figure, folder / f"{name}.png")
    if text:
        print(text)
    print(f"Wrote {folder / name}.png and .csv.")
