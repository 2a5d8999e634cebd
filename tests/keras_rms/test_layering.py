"""The directions of imports, between the packages and between their rooms; the public names."""

import ast

import pytest
from paths import ROOT

FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("keras_rms", "pipelines", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)

# Each room, and the rooms that it may import from beside itself. A room is a folder, or a file
# that has a place of its own: what a module belongs to is the longest of these names.
_SYSTEM = {"pipelines.system"}
_CONVERSION = {f"pipelines.{room}" for room in ("layouts", "frames", "shards", "system")}
_MODELS = {"keras_rms", "keras_rms.models.layers", "keras_rms.models"}
_AUGMENTATION = "keras_rms.augmentation"
_RUN = {"keras_rms.training.recipe", "keras_rms.training.networks"}
_PRESETS = _MODELS | {"keras_rms.models.presets"}
_USE = _PRESETS | _RUN | {"keras_rms.inference"}
_BASE = {
    f"keras_rms.training.{room}" for room in ("errors", "optimization", "weight_names", "work_dir")
}
_STEPS = _BASE | {"keras_rms.training.batch_norm", "keras_rms.training.workers"}
ROOMS = {
    # The commands.
    "pipelines": _CONVERSION | {"pipelines.conversion", "pipelines.input", "pipelines.demo"},
    "pipelines.conversion": _CONVERSION,
    "pipelines.input": {"pipelines.shards", "pipelines.system"},
    # The layout of an archive of images alone has to open it; see `layouts/cifar100.py`.
    "pipelines.layouts": {"pipelines.frames.cifar_file", "pipelines.system"},
    "pipelines.shards": _SYSTEM,
    "pipelines.frames.cifar_file": _SYSTEM | {"pipelines.frames"},
    "pipelines.frames": _SYSTEM | {"pipelines.frames.cifar_file"},
    "pipelines.demo": _SYSTEM | {"pipelines.frames"},
    "pipelines.system": set(),
    # The list of the public names, and the layers.
    "keras_rms.__init__": _MODELS | {_AUGMENTATION},
    "keras_rms.models.__init__": _PRESETS,
    "keras_rms": set(),
    _AUGMENTATION: {"keras_rms"},
    "keras_rms.models.layers": {"keras_rms"},
    "keras_rms.models": {"keras_rms", "keras_rms.models.layers"},
    "keras_rms.checkpoints": _MODELS,
    "keras_rms.models.presets": _MODELS | {"keras_rms.checkpoints"},
    # The files of a run, and how its network is built again.
    "keras_rms.inference": _PRESETS | _RUN | {"keras_rms.training.work_dir"},
    # A run, and what it is described by.
    "keras_rms.training.recipe": {"keras_rms", _AUGMENTATION},
    "keras_rms.training.networks": _MODELS | {"keras_rms.training.recipe"},
    "keras_rms.training": _USE | _STEPS | {"keras_rms.training.loop", _AUGMENTATION},
    "keras_rms.training.loop": _USE | _STEPS,
    "keras_rms.training.batch_norm": _USE | _BASE,
    "keras_rms.training.workers": _BASE,
    "keras_rms.training.optimization": {"keras_rms", "keras_rms.training.weight_names"},
    "keras_rms.training.work_dir": _PRESETS
    | {f"keras_rms.training.{room}" for room in ("errors", "recipe", "weight_names")},
    "keras_rms.training.errors": set(),
    "keras_rms.training.weight_names": set(),
}


def room_of(module):
    """The longest name in ROOMS that `module` is or lies in."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(name for name in names if name in ROOMS)


def module_of(path):
    module = ".".join(path.with_suffix("").parts)
    return module if module in ROOMS else module.removesuffix(".__init__")


def imported_modules(path):
    """The modules of the file's own package that it imports, inside functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # What is imported may be a module or a name of one.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == path.parts[0])


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
def test_imports_point_the_right_way_between_rooms(path):
    room = room_of(module_of(path))
    imported = {room_of(module) for module in imported_modules(path)} - {room}
    assert imported <= ROOMS[room], f"{room} may import from {sorted(ROOMS[room])}"


def test_every_folder_is_a_room_and_no_two_rooms_import_each_other():
    folders = {".".join(path.parts[:-1]) for path in FILES if path.parts[0] != "scripts"}
    assert folders <= ROOMS.keys()
    above = {room: {room} for room in ROOMS}
    for _ in ROOMS:
        for room, below in ROOMS.items():
            for name in below:
                above[name] |= above[room]
    # The archive of images and the other files are one room, but for who may open it.
    frames = {"pipelines.frames", "pipelines.frames.cifar_file"}
    for room, below in ROOMS.items():
        assert not (above[room] & below) - frames, room


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


@pytest.mark.parametrize(
    "package",
    [
        "keras_rms",
        "keras_rms.models",
        "keras_rms.augmentation",
        "keras_rms.inference",
        "keras_rms.training",
        "pipelines.input",
    ],
)
def test_every_public_name_exists_and_is_documented(package):
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        public = getattr(module, name)
        if callable(public):
            assert (public.__doc__ or "").strip(), f"{package}.{name} has no docstring"
