import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import video_files

from pipelines.decoding import VideoError, encode_video
from pipelines.isolated_decoder import IsolatedDecoder


def wait_for_end(process_id, seconds=20):
    for _ in range(seconds * 20):
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{process_id}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.05)
    return False


def test_the_result_is_the_same_as_in_this_process(tmp_path):
    path = video_files.write_numbered(tmp_path / "v.mp4", 12, rate=6)
    settings = {"fps": 12.5, "short_side": 48, "quality": 3, "start": 0.5, "end": 1.5}
    with IsolatedDecoder() as decoder:
        clip = decoder.encode(path, **settings)
        assert clip == encode_video(path, **settings)
        # Repeated frames stay one object, so that they cost memory once.
        assert len({id(frame) for frame in clip.frames}) < len(clip.frames)
        first = decoder.process_id
        decoder.encode(path)
        assert decoder.process_id == first
    assert wait_for_end(first)


def test_failures_keep_their_cause_and_the_process(tmp_path):
    (tmp_path / "empty.mp4").touch()
    good = video_files.write_numbered(tmp_path / "\udcff\n.mp4", 3)
    with IsolatedDecoder() as decoder:
        with pytest.raises(VideoError, match=r"empty\.mp4: is empty \(0 bytes\)"):
            decoder.encode(str(tmp_path / "empty.mp4"))
        process = decoder.process_id
        assert len(decoder.encode(good).frames) == 3
        assert decoder.process_id == process


def test_a_video_that_takes_too_long_costs_itself_only(tmp_path):
    endless = video_files.write_numbered(tmp_path / "a.mkv", 2, times=[0, 0.1])
    short = video_files.write_numbered(tmp_path / "b.mp4", 3)
    with IsolatedDecoder(timeout=60) as decoder:
        decoder.encode(short)
        process = decoder.process_id
        os.kill(process, signal.SIGSTOP)  # hangs as hard as a process can
        decoder._timeout = 0.5
        with pytest.raises(VideoError, match=r"a\.mkv: given up: decoding took more than 0\.5 s"):
            decoder.encode(endless)
        assert wait_for_end(process)
        decoder._timeout = 60
        assert len(decoder.encode(short).frames) == 3
        assert decoder.process_id != process


def test_files_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text("raise ImportError('this is another av')")
    (tmp_path / "pipelines").mkdir()
    for name in ("__init__", "decoding", "isolated_decoder"):
        (tmp_path / "pipelines" / f"{name}.py").touch()
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    monkeypatch.chdir(tmp_path)
    with IsolatedDecoder() as decoder:
        assert len(decoder.encode(path).frames) == 3


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_video_that_crashes_the_decoder_costs_itself_only(tmp_path, name):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    with IsolatedDecoder() as decoder:
        decoder.encode(path)
        process = decoder.process_id
        os.kill(process, signal.SIGSTOP)

        def crash():
            os.kill(process, getattr(signal, name))
            os.kill(process, signal.SIGCONT)

        threading.Timer(0.3, crash).start()
        with pytest.raises(VideoError, match=rf"made the decoder crash \({name}\)"):
            decoder.encode(path)
        assert len(decoder.encode(path).frames) == 3


def test_no_process_outlives_a_parent_that_is_killed(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    program = (
        "import sys, time\n"
        "from pipelines.isolated_decoder import IsolatedDecoder\n"
        "decoder = IsolatedDecoder()\n"
        f"decoder.encode({path!r})\n"
        "print(decoder.process_id, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    assert wait_for_end(child)


def test_a_hanging_process_ends_itself_when_its_parent_is_gone(tmp_path):
    # The watchdog is a thread of the interpreter's own and needs no Python to run.
    program = (
        "import faulthandler, time\n"
        "from pipelines import decoding, isolated_decoder\n"
        "decoding.encode_video = lambda *_, **__: time.sleep(600)\n"
        "isolated_decoder.serve()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    message = b'{"path": "a.mp4", "settings": {}, "timeout": -4}'
    child.stdin.write(len(message).to_bytes(8, "little") + message)
    child.stdin.close()
    assert child.wait(60) == 1


def test_a_bad_timeout():
    with pytest.raises(ValueError, match="Received: timeout=0"):
        IsolatedDecoder(timeout=0)
