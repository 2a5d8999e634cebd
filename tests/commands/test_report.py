"""`report.py`: one page that needs nothing else, of runs in every state."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import command_runner
import numpy as np
import pytest
import small_dataset
from PIL import Image

from keras_rms.inference.saved_scores import SavedScores
from pipelines.shards import split_index

LOG = """epoch,step,top1,validation_top1,clips_per_second,seconds
1,3,0.25,,100,1
2,6,0.75,0.5,140,2
"""
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that every element is closed, and collects pictures and words."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.words, self.addresses = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            assert values["alt"]
            self.images.append(values["src"])
        self.addresses += [v for k, v in attributes if k in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run that is evaluated, with a name that is HTML, and one that has only begun."""
    folder = tmp_path_factory.mktemp("report")
    data = small_dataset.make_dataset(folder / "data")
    index = split_index.load_index(str(data), "validation")
    for name, rate in (("a <b> & c", 0.1), ("begun", 0.2)):
        (folder / name).mkdir()
        settings = {"model": "slow_only_18", "learning_rate": rate, "epochs": 2}
        settings.update(validation_split="validation", class_names=list(small_dataset.CLASSES))
        (folder / name / "settings.json").write_text(json.dumps(settings))
    done = folder / "a <b> & c"
    (done / "model.keras").write_bytes(b"")
    (done / "log.csv").write_text(LOG)
    (done / "evaluation").mkdir()
    scores = 0.1 + 0.7 * np.eye(3, dtype=np.float32)[(index.labels + (index.labels == 2)) % 3]
    saved = SavedScores(list(index.keys), index.labels, scores, list(small_dataset.CLASSES))
    (done / "evaluation" / "validation_1x1.npz").write_bytes(saved.packed())
    measured_on = {"data": str(data), "split": "validation", "views": "1x1"}
    (done / "evaluation" / "validation_1x1.json").write_text(json.dumps(measured_on))
    # A part is no evaluation yet; that of a checkpoint is one.
    (done / "evaluation" / "validation_1x1.part_1_of_2.npz").write_bytes(saved.packed())
    (folder / "unfinished" / "evaluation" / "best").mkdir(parents=True)
    (folder / "unfinished" / "settings.json").write_text(json.dumps(settings))
    of_best = folder / "unfinished" / "evaluation" / "best" / "validation_1x1"
    of_best.with_suffix(".npz").write_bytes(saved.packed())
    of_best.with_suffix(".json").write_text(json.dumps(measured_on))
    return folder


def report(runs, *names, **options):
    output = runs / "pages" / "report.html"
    places = ",".join(str(runs / name) for name in names)
    command = ["scripts/report.py", f"--work_dir={places}", f"--output={output}", "--clips=2"]
    result = command_runner.run(*command, **options)
    return result.error if options.get("status") else output.read_text()


def test_a_page_of_two_runs_stands_alone(runs):
    text = report(runs, "a <b> & c", "begun")
    page = Page(text)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "a <b> & c" in page.words and "<b>" not in text
    # Two of three classes right, of three videos each.
    assert "66.7%" in page.words
    assert re.search(r"learning_rate\s*0\.1\s*0\.2", page.words)
    assert "not finished after 0 epochs" in page.words
    assert "part_1" not in page.words and "100.0%" not in page.words.partition("Settings")[0]
    assert "clips a second in training120-" in page.words
    kinds = [re.match("data:image/(.*);base64", source)[1] for source in page.images]
    # Curves, confusion, reliability; two of the best and two of the worst videos.
    assert kinds == ["png"] * 3 + ["webp"] * 4
    moving = Image.open(io.BytesIO(base64.b64decode(page.images[-1].partition(",")[2])))
    assert moving.n_frames == 12
    assert "red 10%, taken for blue 80%" in page.words


def test_a_run_that_has_only_begun_and_data_that_is_gone(runs):
    assert "Nothing was evaluated yet" in Page(report(runs, "begun")).words
    summary = runs / "a <b> & c" / "evaluation" / "validation_1x1.json"
    before = summary.read_text()
    summary.write_text('{"data": "/nowhere", "split": "validation"}')
    try:
        assert "No clips are shown" in Page(report(runs, "a <b> & c")).words
    finally:
        summary.write_text(before)


def test_an_evaluation_of_a_checkpoint_is_shown(runs):
    page = Page(report(runs, "unfinished"))
    assert "best/validation_1x1" in page.words and "Nothing was evaluated" not in page.words


def test_what_is_no_run_is_said(runs):
    assert "settings.json" in report(runs, "data", status=1)
