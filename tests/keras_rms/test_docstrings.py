"""The examples in docstrings run and print what they say; all text has one form."""

import ast
import doctest
import importlib
import io
import pkgutil
import re
import tokenize

import keras
import numpy as np
import pytest
from paths import ROOT

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
    for module in (keras_rms, keras_rms.models, keras_rms.augmentation)
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


@pytest.mark.slow
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


SOURCES = sorted(
    path
    for folder in ("keras_rms", "pipelines", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
of_each_source = pytest.mark.parametrize(
    "path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES]
)
# A description may begin with a type as NumPy writes it.
DESCRIPTION = re.compile(r"[^a-z]|u?int\d*\b|float\d*\b|bool\b|host:port")
# `analyze` is the name of a command.
AMERICAN = re.compile(
    r"\b(un|re|de)?(normaliz|initializ|regulariz|optimiz(?!er)|synchroniz|recogniz|organiz"
    r"|analyz(?!e[ `.])|summariz|randomiz|minimiz|maximiz|quantiz|utiliz|serializ"
    r"|behavior|color|gray|center|favor|neighbor|labeled|modeling|canceled)",
    re.IGNORECASE,
)


def docstrings(path):
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(path.read_text()))
    found = (ast.get_docstring(node) for node in nodes if isinstance(node, holders))
    return [text for text in found if text]


def descriptions(text):
    """What the sections of a docstring say of each argument, attribute, error and result."""
    headings = r"^(Args|Call arguments|Attributes|Raises|Returns|Yields):\n((?:(?: .*)?\n)+)"
    for heading, body in re.findall(headings, text + "\n", re.MULTILINE):
        if heading in ("Returns", "Yields"):
            yield body.strip()
        else:
            names = r"^    \*{0,2}\w+(?:, \*{0,2}\w+)*(?: \([^)]*\))?: (.+)"
            yield from re.findall(names, body, re.MULTILINE)


@of_each_source
def test_descriptions_begin_with_a_capital(path):
    found = [words for text in docstrings(path) for words in descriptions(text)]
    assert [words for words in found if not DESCRIPTION.match(words)] == []


def test_descriptions_are_found():
    text = "It.\n\nArgs:\n    a, b: One.\n        more: of it.\n    *c (x): two.\n\nRaises:\n"
    text += "    ValueError: Never.\n\nReturns:\n    three.\n"
    assert list(descriptions(text)) == ["One.", "two.", "Never.", "three."]
    assert [bool(DESCRIPTION.match(words)) for words in descriptions(text)] == [1, 0, 1, 0]


@of_each_source
def test_messages_have_one_form(path):
    """`x` must be ..., Received: ..."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            words = ast.unparse(node.exc.args[0])
            assert not re.search(r"\bshould\b", words), words
            assert not re.match(r"f?['\"]([a-z]\w*|\{name\}) must\b", words), words


def prose(path):
    """Docstrings and comments, without code, quotations and names."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    for text in docstrings(path) + comments:
        text = re.sub(r'```.*?```|`[^`]*`|"[^"]*"', "", text, flags=re.DOTALL)
        text = re.sub(r"^ *(>>>.*|\w+: )", "", text, flags=re.MULTILINE)
        yield re.sub(r"\S*[_.(=]\S*\w\S*", "", text)


@of_each_source
def test_prose_is_british(path):
    assert [text for text in prose(path) if AMERICAN.search(text)] == []
