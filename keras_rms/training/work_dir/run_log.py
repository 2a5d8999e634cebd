"""What a run writes while it trains: CSV, JSON lines and TensorBoard."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from keras_rms.training.work_dir.whole_files import saving, write_whole
from keras_rms.training.work_dir.work_folder import WorkFolder
from keras_rms.whole_files import UNFINISHED

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "top1",
    "validation_loss",
    "validation_top1",
    "validation_top5",
    "clips_per_second",
    "data_wait",
    "seconds",
)


class RunLog(keras.callbacks.Callback):
    """Writes log.csv (a row an epoch), log.jsonl (also a line a call) and tensorboard/.

    A run that was killed after its last checkpoint takes some steps again, and perhaps the end of
    an epoch: what these had written is removed first, from all three. So is what is damaged there,
    for no log must keep a run from going on.

    Args:
        work_dir: Where the files go.
        step: Steps taken before.
        epochs: Epochs finished before.

    Raises:
        OSError: Here and in training, if the disk is full or a file cannot be written.
    """

    def __init__(self, work_dir: str | Path, step: int = 0, epochs: int = 0) -> None:
        super().__init__()
        folder = WorkFolder(work_dir)
        self._table, self._lines, self._events = folder.table, folder.lines, folder.events
        with saving(f"The log in {folder}"):
            rows = [row for row in _read_rows(self._table) if int(row["epoch"]) <= epochs]
            _keep(self._table, _csv([dict(zip(COLUMNS, COLUMNS)), *rows]))
            lines = [line for line in _read_lines(self._lines) if _was_before(line, step, epochs)]
            _keep(self._lines, "".join(json.dumps(line) + "\n" for line in lines))
            _keep_events(self._events, step, int(rows[-1]["step"]) if rows else 0)
            self._board = tf.summary.create_file_writer(str(self._events))

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        with saving(f"The log {self._lines}"):
            self._append_line("train", logs)
            self._show("train", logs)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        with saving(f"The log {self._table}"):
            with open(self._table, "a", newline="") as file:
                file.write(_csv([_plain(logs)]))
            self._append_line("epoch", logs)
            self._show("epoch", logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        self._board.close()

    def _append_line(self, kind: str, logs: dict) -> None:
        with open(self._lines, "a") as file:
            file.write(json.dumps({"kind": kind, **_plain(logs)}) + "\n")

    def _show(self, kind: str, logs: dict) -> None:
        try:
            with self._board.as_default(step=int(logs["step"])):
                for name, value in logs.items():
                    if name not in ("step", "epoch", "seconds"):
                        tf.summary.scalar(f"{kind}/{name}", value)
            # What a checkpoint will hold must not be lost from here by a kill.
            self._board.flush()
        except tf.errors.OpError as error:
            raise OSError(error.message) from error


def _read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace").replace("\0", "")
    return [row for row in csv.DictReader(io.StringIO(text, newline=""), COLUMNS) if _is_row(row)]


def _is_row(row: dict[str, str]) -> bool:
    """Not the header, nor cut off by a kill (which leaves no last column), nor damaged."""
    counts = row["epoch"], row["step"]
    return row["seconds"] is not None and all(c.isascii() and c.isdigit() for c in counts)


def _csv(rows: list[dict]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore").writerows(rows)
    return text.getvalue()


def _read_lines(path: Path) -> Iterator[dict]:
    for line in path.read_bytes().splitlines() if path.exists() else ():
        # The last one may have been cut off by a kill, and any be damaged.
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            content = json.loads(line)
            if content["kind"] and content["epoch"] > 0 and content["step"] > 0:
                yield content


def _was_before(line: dict, step: int, epochs: int) -> bool:
    return line["epoch"] <= epochs if line["kind"] == "epoch" else line["step"] <= step


def _keep_events(folder: Path, step: int, epoch_step: int) -> None:
    """Removes TensorBoard's events of later steps; those of epochs end with `epoch_step`."""
    for path in folder.glob(f"{UNFINISHED}*"):
        path.unlink()
    for path in folder.glob("*tfevents*"):
        content, kept, position = path.read_bytes(), [], 0
        # A record is its length (8 bytes), a checksum of that (4), an event and a checksum (4).
        while position + 12 <= len(content):
            length = int.from_bytes(content[position : position + 8], "little")
            record = content[position : position + length + 16]
            position += length + 16
            # The last one may have been cut off by a kill.
            if len(record) == length + 16 and _event_was_before(record[12:-4], step, epoch_step):
                kept.append(record)
        if sum(map(len, kept)) < len(content):
            _keep(path, b"".join(kept))


def _event_was_before(content: bytes, step: int, epoch_step: int) -> bool:
    try:
        event = tf.compat.v1.Event.FromString(content)
    except Exception:  # protobuf's own, which has no types
        return False
    tags = [value.tag for value in event.summary.value]
    of_epoch = any(tag.startswith("epoch/") for tag in tags)
    return event.step <= (epoch_step if of_epoch else step)


def _keep(path: Path, content: str | bytes) -> None:
    encoded = content.encode() if isinstance(content, str) else content
    write_whole(path, lambda file: file.write(encoded))


def _plain(logs: dict) -> dict:
    """`logs` for people: Keras has made all of them floats with digits beyond float32."""
    counts = ("epoch", "step")
    return {
        name: int(value) if name in counts else float(f"{value:.7g}")
        for name, value in logs.items()
    }
