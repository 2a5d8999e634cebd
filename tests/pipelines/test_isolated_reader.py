import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import video_files
from paths import ROOT

from pipelines.frames.isolated_reader import IsolatedReader, ReaderError
from pipelines.frames.video_file import VideoError, read_frames


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
    with IsolatedReader() as reader:
        clip = reader.read_frames(path, **settings)
        assert clip == read_frames(path, **settings)
        # Repeated frames stay one object, so that they cost memory once.
        assert len({id(frame) for frame in clip.frames}) < len(clip.frames)
        first = reader.process_id
        reader.read_frames(path)
        assert reader.process_id == first
    assert wait_for_end(first)


def test_failures_keep_their_cause_and_the_process(tmp_path):
    (tmp_path / "empty.mp4").touch()
    good = video_files.write_numbered(tmp_path / "\udcff\n.mp4", 3)
    with IsolatedReader() as reader:
        with pytest.raises(VideoError, match=r"empty\.mp4: is empty \(0 bytes\)"):
            reader.read_frames(str(tmp_path / "empty.mp4"))
        process = reader.process_id
        assert len(reader.read_frames(good).frames) == 3
        assert reader.process_id == process


def test_a_video_that_takes_too_long_costs_itself_only(tmp_path):
    endless = video_files.write_numbered(tmp_path / "a.mkv", 2, times=[0, 0.1])
    short = video_files.write_numbered(tmp_path / "b.mp4", 3)
    with IsolatedReader(timeout=60) as reader:
        reader.read_frames(short)
        process = reader.process_id
        os.kill(process, signal.SIGSTOP)  # hangs as hard as a process can
        reader._timeout = 0.5
        with pytest.raises(VideoError, match=r"a\.mkv: given up: decoding took more than 0\.5 s"):
            reader.read_frames(endless)
        assert wait_for_end(process)
        reader._timeout = 60
        assert len(reader.read_frames(short).frames) == 3
        assert reader.process_id != process


def test_files_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "av.py").write_text("raise ImportError('this is another av')")
    (tmp_path / "pipelines" / "frames").mkdir(parents=True)
    for name in ("__init__", "frames/__init__", "frames/video_file", "frames/reader_process"):
        (tmp_path / "pipelines" / f"{name}.py").touch()
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    monkeypatch.chdir(tmp_path)
    with IsolatedReader() as reader:
        assert len(reader.read_frames(path).frames) == 3


def at_start(folder, monkeypatch, file, text):
    """Has each new process of Python run `text` when it imports `file`."""
    folder.mkdir()
    (folder / file).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))


HANGING_READER = """
import sys, time
sys.path.append({root!r})
from pipelines.frames import any_file
read = any_file.read_frames
def read_frames(path, **settings):
    if path == "hangs":
        open({sign!r}, "w").close()
        time.sleep(600)
    return read(path, **settings)
any_file.read_frames = read_frames
"""


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_video_that_crashes_the_decoder_costs_itself_only(tmp_path, monkeypatch, name):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    sign = tmp_path / "sign"
    program = HANGING_READER.format(root=str(ROOT), sign=str(sign))
    at_start(tmp_path / "site", monkeypatch, "sitecustomize.py", program)
    with IsolatedReader() as reader:
        reader.read_frames(path)

        def crash():
            while not sign.exists():
                time.sleep(0.01)
            os.kill(reader.process_id, getattr(signal, name))

        thread = threading.Thread(target=crash)
        thread.start()
        said = "$" if name == "SIGKILL" else r":\n.*Fatal Python error"
        with pytest.raises(VideoError, match=rf"made the decoder crash \({name}\){said}"):
            reader.read_frames("hangs")
        thread.join()
        assert len(reader.read_frames(path).frames) == 3


BAD_READER = """
import ctypes, sys
sys.path.append({root!r})
from pipelines.frames import any_file
def read_frames(path, **settings):
    if path == "quiet":
        print("earlier words", file=sys.stderr, flush=True)
        raise any_file.video_file.VideoError(path, "is nothing")
    print("an old line\\n" * 50 + "of this video" + "x" * 5000, file=sys.stderr, flush=True)
    ctypes.string_at(0) if path == "crash" else {{}}["colour of " + path]
any_file.read_frames = read_frames
"""


@pytest.mark.parametrize(
    ("path", "ending", "word"),
    [
        ("crash", r"crash \(SIGSEGV\)", "string_at"),
        ("error", "end with status 1", "KeyError: 'colour of error'"),
    ],
)
def test_what_a_dying_process_says_is_in_the_error(tmp_path, monkeypatch, path, ending, word):
    at_start(tmp_path / "site", monkeypatch, "sitecustomize.py", BAD_READER.format(root=str(ROOT)))
    with IsolatedReader() as reader:
        for _ in range(2):
            with pytest.raises(VideoError, match="is nothing"):
                reader.read_frames("quiet")
        with pytest.raises(VideoError, match=rf"^{path}: made the decoder {ending}:\n") as error:
            reader.read_frames(path)
        assert word in error.value.cause and "of this video" in error.value.cause
        assert "in read_frames" in error.value.cause  # where it was
        assert "earlier words" not in error.value.cause and not error.value.lasting
        assert len(error.value.cause.splitlines()) == 21 and len(error.value.cause) < 3000


def test_a_process_that_cannot_start_ends_all(tmp_path, monkeypatch):
    at_start(tmp_path / "site", monkeypatch, "av.py", "raise ImportError('no libavcodec.so here')")
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    with IsolatedReader() as reader:
        with pytest.raises(ReaderError, match=r"end with status 1:\n") as error:
            reader.read_frames(path)
        assert "ImportError: no libavcodec.so here" in str(error.value)
        assert f"`{sys.executable} -c 'import av'`" in str(error.value)
        monkeypatch.delenv("PYTHONPATH")
        assert len(reader.read_frames(path).frames) == 3


def test_a_process_that_dies_between_videos_blames_none(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    with IsolatedReader() as reader:
        reader.read_frames(path)
        process = reader.process_id
        os.kill(process, signal.SIGKILL)  # as Linux does where memory runs out
        assert wait_for_end(process)
        assert len(reader.read_frames(path).frames) == 3
        assert reader.process_id != process


def test_a_process_that_dies_before_it_takes_a_video_blames_none(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    with IsolatedReader() as reader:
        reader.read_frames(path)
        process = reader.process_id
        os.kill(process, signal.SIGSTOP)  # it is dying, and does not look dead yet
        threading.Timer(0.3, os.kill, (process, signal.SIGKILL)).start()
        assert len(reader.read_frames(path).frames) == 3
        assert reader.process_id != process


def test_a_process_that_never_takes_a_video_ends_all(tmp_path, monkeypatch):
    program = (
        f"import os, sys\nsys.path.append({str(ROOT)!r})\n"
        "from pipelines.frames import reader_process\n"
        "reader_process.json.loads = lambda text: os._exit(3)\n"
    )
    at_start(tmp_path / "site", monkeypatch, "sitecustomize.py", program)
    with IsolatedReader() as reader:
        with pytest.raises(ReaderError, match="died 3 times before it took one"):
            reader.read_frames("a.mp4")


def test_notes_come_along(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mkv", 2, codec="ffv1", times=[0, 3])
    with IsolatedReader() as reader:
        assert reader.read_frames(path).notes == read_frames(path).notes != ()


def test_no_process_outlives_a_parent_that_is_killed(tmp_path):
    path = video_files.write_numbered(tmp_path / "a.mp4", 3)
    program = (
        "import sys, time\n"
        "from pipelines.frames.isolated_reader import IsolatedReader\n"
        "reader = IsolatedReader()\n"
        f"reader.read_frames({path!r})\n"
        "print(reader.process_id, flush=True)\n"
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
        "from pipelines.frames import reader_process, video_file\n"
        "video_file.read_frames = lambda *_, **__: time.sleep(600)\n"
        "reader_process.serve()\n"
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
        IsolatedReader(timeout=0)
