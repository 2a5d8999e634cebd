"""Opens a page in the browser on which to try a network.

    keras-rms demo-server --work_dir=runs/rms          (then open http://127.0.0.1:7860)

Drop a video on it: it shows the best classes, how they change along the video, and where the
network looked (Grad-CAM). Two sliders scale the low and the high frequencies of the features where
Random Mean Scaling sits: the paper's Fig. 1 by hand. A camera works too, where the browser lets it.

It listens on this machine only, unless --address says otherwise: whoever reaches it may upload
videos, without a password. Uploads are read in a process of their own, limited in memory and time.
Needs Gradio: pip install 'keras_rms[server]'.
"""

import errno
import socket
from collections.abc import Sequence

from pipelines.system import quiet_tensorflow  # noqa: F401  (before what imports TensorFlow)

# isort: split
from absl import flags

from analysis import runs
from pipelines.system import command_help, command_line, gpus
from server_page.viewer import Viewer

command_help.section("What to show")
_WORK_DIR = flags.DEFINE_string(
    "work_dir", None, "Show the network of the training in this folder.", required=True
)

command_help.section("Where to listen")
_ADDRESS = flags.DEFINE_string(
    "address", "127.0.0.1", "Listen on this address; 0.0.0.0 lets other machines in."
)
_PORT = flags.DEFINE_integer(
    "port", 7860, "Listen on the port of this number.", lower_bound=1, upper_bound=65535
)

_LARGEST_UPLOAD = "1gb"
_MOST_VISITORS = 50


def main(arguments: Sequence[str]) -> None:
    if len(arguments) > 1:
        raise ValueError(f"Unknown arguments: {' '.join(arguments[1:])}. See --help.")
    check_place(_ADDRESS.value, _PORT.value)
    try:
        from server_page.layout import page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise ValueError(
            "The page needs Gradio, which is not installed: pip install 'keras_rms[server]'."
        ) from None
    gpus.tell_if_missed()
    with Viewer(runs.opened(_WORK_DIR.value)) as viewer:
        page(viewer).launch(
            server_name=_ADDRESS.value,
            server_port=_PORT.value,
            share=False,
            max_file_size=_LARGEST_UPLOAD,
            # A visitor's clips are in memory.
            state_session_capacity=_MOST_VISITORS,
            # What an error of ours says is for the reader; a traceback is for the log.
            show_error=True,
            quiet=False,
        )


def check_place(address: str, port: int) -> None:
    """Tries to listen, before a network is opened for it.

    Raises:
        ValueError: If that cannot be; names the flag to change.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"--port={port} is taken: another program listens there, maybe an earlier "
                "demo-server. End it, or name another --port."
            ) from None
        cause = str(error.strerror).partition(" (")[0]  # Python repeats the address there
        raise ValueError(
            f"Nothing can listen on --address={address} --port={port} ({cause}). The "
            "address must be one of this machine's, and ports below 1024 need permission."
        ) from None


if __name__ == "__main__":
    command_line.run(main)
