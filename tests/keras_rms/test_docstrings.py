"""The examples in docstrings run and print what they say; sections have Keras's order."""

import doctest
import importlib
import io
import pkgutil
import re

import keras
import numpy as np
import pytest

import keras_rms

# Their examples need a training.
WITHOUT_EXAMPLES = ("keras_rms.training", "keras_rms.inference")
CONTEXT = {"io": io, "keras": keras, "keras_rms": keras_rms, "np": np}
SECTIONS = (
    "Example:",
    "Args:",
    "Call arguments:",
    "Input shape:",
    "Output shape:",
    "Returns:",
    "Raises:",
    "Reference:",
)
PUBLIC = [
    getattr(module, name)
    for module in (keras_rms, keras_rms.models)
    for name in module.__all__
    if callable(getattr(module, name))
]


def examples():
    for info in pkgutil.walk_packages(keras_rms.__path__, "keras_rms."):
        if not info.name.startswith(WITHOUT_EXAMPLES):
            module = importlib.import_module(info.name)
            found = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=CONTEXT)
            yield from (test for test in found if test.examples)


class AnyBackend(doctest.OutputChecker):
    """A tensor's shape is a tuple on JAX, and prints otherwise elsewhere."""

    def check_output(self, want, got, flags):
        got = re.sub(r"(?:TensorShape|torch\.Size)\(\[(.*?)\]\)", r"(\1)", got)
        return super().check_output(want, got, flags)


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_examples_run(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    doctest.DocTestRunner(AnyBackend(), verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_public_docstrings_have_an_example_and_keras_s_order(public):
    text = public.__doc__
    places = [text.find(f"    {section}\n") for section in SECTIONS]
    present = [place for place in places if place >= 0]
    assert present == sorted(present)
    takes_arguments = public is not keras_rms.models.list
    if takes_arguments:
        assert ">>> " in text and "    Args:\n" in text and "    Raises:\n" in text
    if isinstance(public, type) and issubclass(public, keras.layers.Layer):
        for section in ("Input shape:", "Output shape:", "Reference:"):
            assert f"    {section}\n" in text, section
