"""A run in one process, from the newest checkpoint on."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import keras
import numpy as np

from keras_rms.models.training_memory import training_memory
from keras_rms.training import host_memory
from keras_rms.training.batch_norm.synchronized import synchronize_batch_norm
from keras_rms.training.devices import Devices
from keras_rms.training.errors import NotFinite
from keras_rms.training.evaluation import Evaluation
from keras_rms.training.learner import Learner
from keras_rms.training.loop.position import Position
from keras_rms.training.loop.training_loop import TrainingLoop
from keras_rms.training.networks import dtype_policy
from keras_rms.training.recipe import CompletedRecipe
from keras_rms.training.running import Running
from keras_rms.training.training_data import TrainingData
from keras_rms.training.work_dir import settings as work_settings
from keras_rms.training.work_dir.checkpoints import BEST, Checkpoints, paths
from keras_rms.training.work_dir.initial_weights import clips_note, initialise_from, weights_file
from keras_rms.training.work_dir.lock import lock
from keras_rms.training.work_dir.progress_line import ProgressLine
from keras_rms.training.work_dir.run_log import RunLog
from keras_rms.training.work_dir.whole_files import save_model, saving, write_whole
from keras_rms.training.work_dir.work_folder import WorkFolder
from keras_rms.training.workers import strategies


class Session:
    """The parts of a run that are alive while it trains.

    Args:
        recipe, running, devices, folder, data: See `Run`.
        build: Takes nothing -> network.

    Attributes:
        learner: What is trained.
    """

    def __init__(
        self,
        recipe: CompletedRecipe,
        running: Running,
        devices: Devices,
        folder: WorkFolder,
        data: TrainingData,
        build: Callable[[], keras.Model],
    ) -> None:
        self._recipe = recipe
        self._running = running
        self._devices = devices
        self._folder = folder
        self._data = data
        self._build = build
        self.learner = self._new_learner()
        self._checkpoints = Checkpoints(
            folder.checkpoints, self.learner.state, running.keep_checkpoints
        )
        self._evaluation = Evaluation(
            self.learner, data.training, devices, recipe.precise_bn_steps, running.worker_timeout
        )

    def run(self, settings: dict, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Trains to the end and leaves the finished network.

        Args:
            settings: What to write into settings.json.
            callbacks: See `Run.train`.
        """
        with self._claimed():
            position = self._restored()
            self.learner.enter_epoch(position.finished_epochs)
            if self._devices.is_first:
                with saving(f"The work folder {self._folder}"):
                    work_settings.write(self._folder.path, settings)
                print(self._introduction(position), flush=True)
            # What is wrong with it is said now, not after an epoch. Nothing that takes long may
            # come between the log, by which others see the run, and the loop, which hears SIGTERM.
            if self._data.validation:
                self._data.validation()
            if self._devices.is_first:
                callbacks = [*self._logs(position), *callbacks]
            with self._batch_saved():
                self._loop(callbacks).run(position)
            if self._devices.is_first and position.finished_epochs < self._recipe.epochs:
                print(self._stopped_early(position), flush=True)
            with self._evaluation.weights(position.step):
                if self._devices.is_first:
                    self._save_network(settings)

    def _new_learner(self) -> Learner:
        source = None if self._folder.begun else self._running.init_from
        file = weights_file(source) if source else None
        with self._devices.strategy.scope(), dtype_policy(self._recipe.precision):
            model = self._build()
            if self._devices.kind == "CPU":
                self._check_memory(model)
            if self._recipe.sync_bn and not self._devices.share_one_batch:
                synchronize_batch_norm(model)
            if file:
                names, head = self._data.class_names, self._running.init_head
                done = initialise_from(model, file, names, head)
                if self._devices.is_first:
                    span = self._data.settings.get("span")
                    note = done.why + clips_note(file, self._recipe.num_frames, span)
                    print(f"Weights from {source}; new: {', '.join(done.new) or 'none'}. {note}")
            return Learner(model, self._recipe, self._running.jit_compile)

    def _check_memory(self, model: keras.Model) -> None:
        if self._data.clip_shape is None:
            return
        workers = self._devices.workers
        # A network of images takes clips of one frame without the axis of time.
        sample = self._data.clip_shape[1 - len(model.input_shape) :]
        host_memory.check_fits(
            training_memory(model, sample, self._frozen_to_the_end()),
            self._recipe.batch_size // workers,
            replicas=self._devices.replicas // workers,
            accumulation=self._recipe.accumulation,
        )

    def _frozen_to_the_end(self) -> tuple[str, ...]:
        return self._recipe.freeze if self._recipe.unfreeze_epoch is None else ()

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        """The folder is there, and no other run writes into it meanwhile."""
        if not self._devices.is_first:
            yield
            return
        with saving(f"The work folder {self._folder}"):
            self._folder.path.mkdir(parents=True, exist_ok=True)
            claim = lock(self._folder.path)
        with claim:
            yield

    def _restored(self) -> Position:
        saved = self._checkpoints.restore_newest()
        position = Position(**saved) if saved else Position()
        strategy = self._devices.strategy
        strategies.check_same_on_all_workers(strategy, "step to continue from", position.step)
        return position

    def _introduction(self, position: Position) -> str:
        recipe, data = self._recipe, self._data
        return (
            f"{recipe.model} with {self.learner.model.count_params():,} parameters, "
            f"{data.num_videos} videos of {len(data.class_names)} classes, "
            f"{self._devices.replicas} replica(s) on {self._devices.kind}; step {position.step} "
            f"of {recipe.epochs * recipe.steps_per_epoch}; results in {self._folder}"
        )

    def _stopped_early(self, position: Position) -> str:
        return (
            f"Stopped after epoch {position.finished_epochs} of {self._recipe.epochs}: "
            f"{position.since_best} validations in a row were no better than {position.best:.1%}. "
            f"{self._folder.model} is the network after the last step; that of the best "
            f"validation is {self._folder.checkpoints / BEST}."
        )

    def _logs(self, position: Position) -> list[keras.callbacks.Callback]:
        log = RunLog(self._folder.path, position.step, position.finished_epochs)
        return [log, ProgressLine(self._recipe.epochs, self._recipe.steps_per_epoch)]

    def _loop(self, callbacks: Sequence[keras.callbacks.Callback]) -> TrainingLoop:
        recipe, running, validation = self._recipe, self._running, self._data.validation
        return TrainingLoop(
            self._devices.strategy,
            self.learner.step,
            self._data.training,
            model=self.learner.model,
            callbacks=callbacks,
            epochs=recipe.epochs,
            steps_per_epoch=recipe.steps_per_epoch,
            schedule=self.learner.schedule,
            validate=partial(self._evaluation.validate, validation) if validation else None,
            validate_every=recipe.validate_every,
            stop_after=recipe.stop_after,
            stop_from=recipe.unfreeze_epoch or 0,
            enter_epoch=self.learner.enter_epoch,
            save=self._save,
            checkpoint_every=running.checkpoint_every,
            steps_per_call=running.steps_per_call,
            measure_wait=not running.deterministic,
            worker_timeout=running.worker_timeout,
        )

    def _save(self, position: Position, best: bool) -> None:
        if self._devices.is_first:
            self._checkpoints.save(position.step, dataclasses.asdict(position), best)

    @contextlib.contextmanager
    def _batch_saved(self) -> Iterator[None]:
        """Saves the batch whose loss was not finite, for the user to look at."""
        try:
            yield
        except NotFinite as stop:
            step = stop.step
            clips, labels = next(iter(self._data.training(step)))
            path = self._folder.not_finite(step, self._devices.worker)
            write_whole(path, lambda file: np.savez(file, clips=clips, labels=labels, step=step))
            newest = paths(self._folder.checkpoints)[-1:]
            state = f"The newest checkpoint is {newest[0]}." if newest else "No checkpoint was due."
            raise NotFinite(
                f"{stop} Its batch is saved in {path}. {state} Look for broken videos in the "
                "batch; else try a lower "
                "`learning_rate`, longer `warmup_epochs` or `clip_norm` in a new `work_dir`.",
                step,
            ) from stop

    def _save_network(self, settings: dict) -> None:
        """In float32 and for any device."""
        with dtype_policy("float32"):
            finished = self._build()
        finished.set_weights(self.learner.model.get_weights())
        save_model(finished, self._folder.model, settings)
