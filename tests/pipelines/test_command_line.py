"""How commands end: statuses, paragraphs, and leaving after tensorflow-io was used."""

import textwrap

import command_runner
import pytest
from absl import flags

from pipelines.system import command_line, quiet_tensorflow


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


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_that_is_not_installed_is_named(backend, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=str(command_line.FAILURE)):
        quiet_tensorflow._check_backend()
    assert f"Install it (pip install {backend})" in capsys.readouterr().err
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    quiet_tensorflow._check_backend()


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


@pytest.fixture
def defined(monkeypatch):
    values = flags.FlagValues()
    flags.DEFINE_string("work_dir", None, "", values)
    flags.DEFINE_integer("task_number", 0, "", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "", values)
    monkeypatch.setattr(flags, "FLAGS", values)


@pytest.mark.parametrize(
    "given, meant",
    [
        ("--work-dir=a-b", "--work_dir=a-b"),
        ("--work_dir=a-b", "--work_dir=a-b"),
        ("-work-dir=a", "--work_dir=a"),
        ("--work-dir a-b c-d", "--work_dir a-b c-d"),
        ("--work-dir --dry-run --dry-run", "--work_dir --dry-run --dry_run"),
        ("--work-dir=--dry-run x=y-z", "--work_dir=--dry-run x=y-z"),
        ("--dry-run my-video.mp4", "--dry_run my-video.mp4"),
        ("--no-dry-run --nodry-run", "--nodry_run --nodry_run"),
        ("--task-number -3-4", "--task_number -3-4"),
        ("--un-known=a-b --no-work-dir", "--un-known=a-b --no-work-dir"),
        ("--dry-run -- --dry-run --other-flag", "--dry_run -- --dry-run --other-flag"),
        ("- --work-dir", "- --work_dir"),
    ],
)
def test_names_of_flags_may_have_hyphens_and_values_stay(given, meant, defined):
    assert command_line.with_underscores(given.split()) == meant.split()


def test_a_file_of_flags_may_have_hyphens_too(tmp_path):
    (tmp_path / "my-flags.txt").write_text("# a comment\n--trace-back\n")
    result = run_main("return 7", "--flagfile", str(tmp_path / "my-flags.txt"))
    assert result.returncode == 1 and "trace-back" in result.stderr
    (tmp_path / "my-flags.txt").write_text("# a comment\n--no-traceback\n")
    assert run_main("return 7", f"--flagfile={tmp_path}/my-flags.txt").returncode == 7


@pytest.mark.parametrize(("default", "refused"), [(None, True), (["a"], True), ([], False)])
def test_an_empty_list_is_refused_where_it_is_not_the_default(
    default, refused, monkeypatch, capsys
):
    values = flags.FlagValues()
    flags.DEFINE_list("stages", default, "", flag_values=values)
    flags.DEFINE_list("others", default, "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(command_line.command_help, "define_flags", lambda: None)
    monkeypatch.setattr(command_line.output_paths, "check", lambda: None)  # of other flags
    if refused:
        with pytest.raises(SystemExit) as end:
            command_line._parsed(["train", "--stages="])
        assert end.value.code == command_line.FAILURE
        expected = "error: --stages is empty. Name something in it, or leave it out. See --help.\n"
        assert capsys.readouterr().err == expected
    else:
        assert command_line._parsed(["train", "--stages=", "x"]) == ["train", "x"]
    assert command_line._parsed(["train", "--stages=b,c", "x"]) == ["train", "x"]
    assert values["stages"].value == ["b", "c"]


@pytest.mark.parametrize(
    "words, error",
    [
        (["--traceback=maybe"], "error: flag --traceback=maybe: "),
        (["--tracebakc"], "error: Unknown command line flag 'tracebakc'. Did you mean: traceback"),
        (["--notraceback=3"], "error: --notraceback=3 does not take an argument. See --help."),
        (["--flagfile=/no/such"], "error: "),
    ],
)
def test_wrong_flags_are_named_in_a_paragraph(words, error):
    result = run_main("return 0", *words)
    assert result.returncode == command_line.FAILURE
    assert result.stderr.startswith(error) and "Traceback" not in result.stderr
    assert " ".join(result.stderr.split()).endswith("See --help.")


def test_a_missing_flag_is_named():
    program = """
        from absl import flags
        from pipelines.system import command_line
        flags.DEFINE_string("data", None, "The data.", required=True)
        command_line.run(lambda arguments: 0)
    """
    result = command_runner.run("-c", textwrap.dedent(program), status=None)
    assert (result.returncode, result.stderr) == (1, "error: --data is missing. See --help.\n")
