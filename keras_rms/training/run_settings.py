"""What settings.json says of a run, and which of it has to stay."""

import dataclasses
import json
import os
from pathlib import Path

import keras_rms
from keras_rms.training.devices import Devices
from keras_rms.training.recipe import CompletedRecipe, Recipe
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir import settings as work_settings


def settings_of(
    recipe: CompletedRecipe, running: Running, data: TrainingData, devices: Devices
) -> dict:
    """All settings by name, as JSON holds them: what was asked for, and what it was run with.

    Args:
        recipe, running, data, devices: The run's own.
    """
    source = Path(keras_rms.__file__).parent
    made_with = {**work_settings.provenance(source), "onednn": devices.onednn}
    settings = {
        **dataclasses.asdict(recipe),
        **dataclasses.asdict(running),
        **data.free_settings,
        **data.settings,
        "class_names": list(data.class_names),
        "num_videos": data.num_videos,
        "num_replicas": devices.replicas,
        "num_workers": devices.workers,
        "batch_norm_over": "all devices"
        if recipe.sync_bn or devices.share_one_batch
        else "each device",
        "backend": devices.backend,
        **made_with,
        "earlier": work_settings.earlier(running.work_dir, made_with),
    }
    return json.loads(json.dumps(settings, default=os.fspath))


def defaults_of(data: TrainingData) -> dict:
    """What a run was made with whose version did not know a setting, as JSON holds it."""
    of_recipe = {field.name: field.default for field in dataclasses.fields(Recipe)}
    return json.loads(json.dumps({**of_recipe, **data.defaults}))


def deciding(data: TrainingData) -> list[str]:
    """The names of the settings that a run has to be continued with."""
    of_recipe = (field.name for field in dataclasses.fields(Recipe))
    return sorted({*of_recipe, *data.settings, "class_names", "num_videos", "backend"})
