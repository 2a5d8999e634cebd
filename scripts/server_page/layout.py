"""How the page looks, in Gradio."""

import os

# Before Gradio is imported: it would tell its makers that it was started.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

# isort: split
import gradio as gr

from pipelines.frames.video_file import VideoError
from server_page.viewer import Viewer

_KEPT = 3600  # seconds that a visitor's video stays, on the disk and as clips in memory
_MOST_WAITING = 20


def page(viewer: Viewer) -> gr.Blocks:
    """The page; `launch` it."""
    name = viewer.run.settings["model"]
    with gr.Blocks(title=f"keras_rms: {name}", delete_cache=(_KEPT // 4, _KEPT)) as blocks:
        gr.Markdown(
            f"# {name}, {len(viewer.run.class_names)} classes\n"
            "Drop a video, then press *Look*. The sliders scale the smooth part (low frequencies) "
            "and the rest (high frequencies) of the features inside the network."
        )
        seen = gr.State(time_to_live=_KEPT)
        with gr.Row():
            with gr.Column():
                video = gr.Video(sources=["upload", "webcam"], label="Video", height=320)
                look = gr.Button("Look", variant="primary")
                low = gr.Slider(0, 2, 1, step=0.05, label="Scale of low frequencies")
                high = gr.Slider(0, 2, 1, step=0.05, label="Scale of high frequencies")
            with gr.Column():
                classes = gr.Label(num_top_classes=viewer.most_shown, label="Classes")
                timeline = gr.Plot(label="Along the video", show_label=False)
                where = gr.Video(label="Where the network looked", height=260, autoplay=True)

        def look_at(path: str | None, low_scale: float, high_scale: float) -> tuple:
            if not path:
                raise gr.Error("Drop a video first, or record one.")
            try:
                found = viewer.read(path)
            except VideoError as error:
                raise gr.Error(f"This video cannot be read: {error.cause}") from error
            plain = viewer.probabilities(found)
            scaled = viewer.probabilities(found, low_scale, high_scale)
            return (
                found,
                viewer.best(scaled),
                viewer.timeline(found, scaled),
                viewer.where(found, plain),
            )

        def scale(found: object, low_scale: float, high_scale: float) -> tuple:
            if found is None:
                return gr.skip(), gr.skip()
            values = viewer.probabilities(found, low_scale, high_scale)
            return viewer.best(values), viewer.timeline(found, values)

        look.click(look_at, [video, low, high], [seen, classes, timeline, where], api_name="look")
        for slider in (low, high):
            slider.release(scale, [seen, low, high], [classes, timeline], api_name=False)
    # A look takes seconds: with more visitors than these the last would wait for minutes.
    return blocks.queue(max_size=_MOST_WAITING)
