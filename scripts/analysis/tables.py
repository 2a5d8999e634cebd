"""Tables as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_file(head: Sequence[str], rows: Iterable[Iterable]) -> bytes:
    """The content of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
