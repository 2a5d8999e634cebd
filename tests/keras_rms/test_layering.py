"""The direction of imports (scripts -> {keras_rms, pipelines}) and the public names."""

import ast

import pytest
from paths import ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("keras_rms", "pipelines", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)


def imported_packages(path):
    """The first parts of the names that a file imports, inside functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else (node.module or "").split(".")[0]


def forbidden(path):
    room = path.parts[0]
    if room == "pipelines":
        return {"keras", "keras_rms", "scripts", "."}
    if room == "scripts":
        return {"."}
    outside = {"pipelines", "scripts", "."}
    if path.parts[1] in ("training", "inference"):
        return outside
    return outside | {"tensorflow", "jax", "tf_keras"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_the_right_way(path):
    assert not forbidden(path) & set(imported_packages(path))


@pytest.mark.parametrize("path", [f for f in FILES if f.parts[0] != "scripts"], ids=str)
def test_the_package_has_no_assert(path):
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)]


def test_no_script_is_imported_by_another():
    mains = {path.stem for path in FILES if path.parent.name == "scripts"}
    for path in FILES:
        source = ast.parse((ROOT / path).read_text())
        modules = {n.module for n in ast.walk(source) if isinstance(n, ast.ImportFrom)}
        assert not {f"scripts.{name}" for name in mains} & modules, path


@pytest.mark.parametrize("package", ["keras_rms", "keras_rms.models"])
def test_every_public_name_exists_and_is_documented(package):
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        public = getattr(module, name)
        if callable(public):
            assert (public.__doc__ or "").strip(), f"{package}.{name} has no docstring"
