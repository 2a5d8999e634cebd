"""A training in a work folder: begun, continued after a kill, and finished by the same call.

Words:
    recipe       what decides the result, see `Recipe`
    running      how it is carried out, which may change from one start to the next, see `Running`
    work folder  where a run leaves everything, and finds it when it goes on
    worker       one process of several that train together; the first one writes the files
    session      a run in one process, from the newest checkpoint on

A run is its work folder. What is there decides whether it begins, goes on, or has nothing left to
do; a folder that was begun with another recipe or other data is refused.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import keras

from keras_rms.training.devices import take_devices
from keras_rms.training.learner import Learner
from keras_rms.training.networks import network_of
from keras_rms.training.recipe import CompletedRecipe, Recipe
from keras_rms.training.run_settings import deciding, defaults_of, settings_of
from keras_rms.training.running import Running
from keras_rms.training.session import Session
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.initial_weights import with_options_of_network
from keras_rms.training.work_dir.work_folder import WorkFolder
from keras_rms.training.workers import strategies


class Run:
    """What `keras-rms train` runs: on one device, on several, or on several machines.

    Make it before TensorFlow and JAX run their first operation: it chooses the devices, finds the
    other workers and seeds Keras.

    Example:

    >>> run = Run(Recipe(model="slow_only_18", width=16, epochs=20), Running("runs/rms"))
    >>> run.train(TrainingData(names, num_videos, training_data, validation_data))
    >>> network = keras.saving.load_model(run.folder.model)

    Args:
        recipe: What decides the result.
        running: How it is carried out.
        build: (recipe, number of classes) -> network. It is called twice, for the network in
            training and for the finished one in float32, and has to give the same.

    Attributes:
        recipe: As given, with the `network_options` of what it starts from.
        running: As given.
        devices: `Devices`, with this process's position among the workers.
        folder: `WorkFolder`, where the results are.
        learner: What is trained, once `train` has begun it.

    Raises:
        ValueError: If the recipe cannot be carried out here, there are no such devices, or
            nothing to start from.
        OSError: If a preset to start from cannot be downloaded.
        WorkerLost: If the other workers do not appear.
    """

    def __init__(
        self,
        recipe: Recipe,
        running: Running,
        build: Callable[[Recipe, int], keras.Model] = network_of,
    ) -> None:
        self.running = running
        self.devices = take_devices(running)
        self.folder = WorkFolder(running.work_dir)
        self.recipe = recipe = with_options_of_network(recipe, self.folder, running.init_from)
        self.devices.check(recipe, running.jit_compile, running.deterministic)
        self.learner: Learner | None = None
        self._build = build
        keras.utils.set_random_seed(recipe.seed)

    def train(self, data: TrainingData, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        """Trains to the end and leaves the finished network, unless it is there already.

        Args:
            data: What to train on.
            callbacks: Keras callbacks, on every worker; see `TrainingLoop`.

        Raises:
            ValueError: If the work folder holds another run, or the data does not fit the network.
            OSError: If the work folder cannot be written.
            TrainingStopped: If the run ended early; the kind of error says why.
        """
        recipe = self.recipe.completed(data.num_videos, data.class_names, data.videos_per_class)
        if recipe.stop_after and not data.validation:
            raise ValueError(
                "`stop_after` counts validations, but there are no videos to validate on: name "
                f"some, or leave it out. Received: stop_after={recipe.stop_after}"
            )
        settings = self._checked_settings(recipe, data)
        if self.folder.finished:
            if self.devices.is_first:
                print(
                    f"The training in {self.folder} is finished: there is nothing left to do. To "
                    f"train its network further, start from it in another work_dir: init_from="
                    f"{self.folder}."
                )
            return
        build = partial(self._build, recipe, len(data.class_names))
        with self.devices.data_parallel():
            session = Session(recipe, self.running, self.devices, self.folder, data, build)
            self.learner = session.learner
            session.run(settings, callbacks)

    def _checked_settings(self, recipe: CompletedRecipe, data: TrainingData) -> dict:
        settings = settings_of(recipe, self.running, data, self.devices)
        names = deciding(data)
        work_settings.check_same(self.folder.path, settings, names, defaults_of(data))
        checksum = zlib.crc32(json.dumps([settings[name] for name in names]).encode())
        strategies.check_same_on_all_workers(
            self.devices.strategy, "checksum of the settings", checksum
        )
        return settings
