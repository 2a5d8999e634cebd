"""Draws accuracies in training, as the paper's figure 3 does; it needs Matplotlib.

    python scripts/examples/training_curves.py --result=plain.json --result=rms.json \\
        --picture=curves.svg

The results come from --output of the trainings. One colour a result: dashed on the training
examples, with augmentation and noise on; solid on the held-out ones, as often as they were
validated; a cross on the test examples at the end.
"""

import json
from pathlib import Path

from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import example_command

_RESULTS = flags.DEFINE_multi_string(
    "result", None, "Draw the training whose result is in this JSON file.", required=True
)
_PICTURE = flags.DEFINE_string(
    "picture", None, "Draw into this .png, .svg, .pdf or .jpg file.", required=True
)


def main() -> None:
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy, %")
    for number, path in enumerate(_RESULTS.value):
        try:
            draw(axes, json.loads(Path(path).read_text()), f"C{number}", path)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} cannot be drawn as a result of --output: {type(error).__name__} {error}"
            ) from error
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    example_command.save_picture(figure, _PICTURE.value)


def draw(axes: Axes, result: dict, colour: str, path: str) -> None:
    """The curves of one training."""
    if result.get("diverged"):
        raise ValueError("this training diverged")
    training, validated = (
        [100 * value for value in result["history"].get(name, [])]
        for name in ("accuracy", "val_accuracy")
    )
    epochs, every = len(training), result["settings"]["validate_every"]
    label = example_command.label_of(path)
    axes.plot(range(1, epochs + 1), training, "--", color=colour, linewidth=1, label=label)
    if validated:
        line = "-" if len(validated) > 1 else "."
        axes.plot(range(every, epochs + 1, every), validated, line, color=colour)
    axes.plot(epochs, 100 * result["test"]["accuracy"], "x", color=colour)


if __name__ == "__main__":
    example_command.run(main)
