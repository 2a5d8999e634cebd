"""How commands end: statuses, paragraphs, and leaving after tensorflow-io was used."""

import textwrap

import command_runner
import pytest

from pipelines.system import command_line


def run_main(body, *flags):
    program = "from pipelines.system import command_line\ndef main(arguments):\n"
    program += textwrap.indent(textwrap.dedent(body), "    ")
    program += "\ncommand_line.run(main)\n"
    return command_runner.run("-c", program, *flags, status=None)


@pytest.mark.parametrize("error", ["ValueError", "FileNotFoundError", "PermissionError"])
def test_a_user_error_is_its_message_alone(error):
    result = run_main(f"raise {error}('no such folder: a b')")
    assert result.returncode == command_line.FAILURE
    assert result.stderr == "error: no such folder: a b\n"


def test_a_bug_keeps_its_traceback():
    result = run_main("raise KeyError('x')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_the_traceback_can_be_asked_for():
    assert "Traceback" in run_main("raise ValueError('x')", "--traceback").stderr


def test_an_interrupt_says_that_one_can_continue():
    result = run_main("raise KeyboardInterrupt")
    assert result.returncode == command_line.INTERRUPTED
    assert "continues" in result.stderr


def test_the_status_of_main_is_the_status_of_the_process():
    assert run_main("return 7").returncode == 7
    assert run_main("return None").returncode == 0


def test_leaves_at_once_where_a_normal_exit_would_abort():
    body = """
        import atexit, sys, types
        atexit.register(print, "not reached")
        plugin = types.SimpleNamespace(used_plugin=lambda: True)
        sys.modules["pipelines.system.filesystems"] = plugin
        print("flushed", end="")
        return 3
    """
    result = run_main(body)
    assert (result.returncode, result.stdout) == (3, "flushed")


def test_a_bug_is_shown_where_a_normal_exit_would_abort():
    body = """
        import sys, types
        plugin = types.SimpleNamespace(used_plugin=lambda: True)
        sys.modules["pipelines.system.filesystems"] = plugin
        return 1 / 0
    """
    result = run_main(body)
    assert result.returncode == command_line.FAILURE and "ZeroDivisionError" in result.stderr


def test_a_paragraph_keeps_names_whole():
    path = "/" + "folder-with-a-hyphen/" * 8
    lines = command_line.paragraph(f"Nothing is in {path} " + "word " * 40).splitlines()
    assert path in lines
    assert all(len(line) <= 100 for line in lines if line != path)


def test_a_name_that_is_no_unicode_is_shown_with_escapes():
    result = run_main("raise ValueError('no video: a\\udcff.mp4')")
    assert result.returncode == command_line.FAILURE
    assert result.stderr == "error: no video: a\\udcff.mp4\n"
