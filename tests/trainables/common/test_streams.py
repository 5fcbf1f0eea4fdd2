"""Output that nobody reads any more, or that was closed from the start."""

import subprocess
import sys
from pathlib import Path

import pytest

WRITES = """
import os, sys
from trainables.common.command import run
def main():
    for number in range(2000):
        print("line", number, "x" * 100, flush=True)
    os.system("echo of a child; echo of a child >&2")
    print("error of a line", file=sys.stderr)
    open("done", "w").write("whole")
    return 3
run(main)
"""


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a shell command, in which `$PYTHON` is ours and `$WRITES` runs `WRITES`."""
    (cwd / "writes.py").write_text(WRITES)
    command = command.replace("$WRITES", "$PYTHON writes.py").replace("$PYTHON", sys.executable)
    return subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "how",
    [
        "(PYTHONUNBUFFERED= $WRITES; echo $? > code) | head -1",
        "(PYTHONUNBUFFERED=1 $WRITES; echo $? > code) | head -1",
        "(PYTHONUNBUFFERED= $WRITES; echo $? > code) 2>&1 | head -1",
        "$WRITES <&- >&-; echo $? > code",
        "$WRITES <&- >&- 2>&-; echo $? > code",
        "$WRITES > /dev/full 2>&1; echo $? > code",
    ],
)
def test_command_does_its_work_without_a_reader(how: str, tmp_path: Path) -> None:
    ended = shell(how, tmp_path)
    assert (tmp_path / "code").read_text().strip() == "3", ended.stderr
    assert (tmp_path / "done").read_text() == "whole"
    assert "Error" not in ended.stderr


def test_file_that_is_opened_never_takes_the_place_of_a_closed_stdout(tmp_path: Path) -> None:
    script = (
        "import os\nfrom trainables.common.command import run\n"
        "def main():\n    stream = open('ledger', 'w')\n    os.system('echo of a child')\n    return 0\nrun(main)\n"
    )
    (tmp_path / "opens.py").write_text(script)
    assert shell("$PYTHON opens.py <&- >&-", tmp_path).returncode == 0
    assert (tmp_path / "ledger").read_text() == ""


def test_output_arrives_whole_where_it_is_read(tmp_path: Path) -> None:
    ended = shell("$WRITES", tmp_path)
    assert ended.returncode == 3
    assert ended.stdout.count("\n") == 2001
    assert ended.stderr == "of a child\nerror of a line\n"


def test_exit_handlers_run_and_nothing_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(
        "import atexit\nfrom trainables.common.command import run\natexit.register(print, 'handler')\n"
        "class Part:\n    def __del__(self): print('taken apart')\n"
        "part = Part()\nrun(lambda: print('command', end=', ') or 3)\n"
    )
    ended = shell("$PYTHON ends.py", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "command, handler\n", "")


def test_working_folder_that_was_removed_is_one_line(tmp_path: Path) -> None:
    ended = shell("mkdir gone; cd gone; rmdir ../gone; $PYTHON -c 'import trainables.trial'", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == "error: the working folder was removed: change to one that is there\n"


def test_native_words_go_to_a_file_and_our_own_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "native.py").write_text("""
import os, subprocess, sys
from pathlib import Path
from trainables.common.command import run
from trainables.common.streams import native_stderr_in
def main():
    with native_stderr_in(Path("native")):
        os.write(2, b"of a library\\n")
        subprocess.run(["sh", "-c", "echo of a child >&2"])
        print("ours", file=sys.stderr)
        raise RuntimeError("an error of ours")
run(main)
""")
    ended = shell("$PYTHON native.py", tmp_path)
    assert ended.stderr.startswith("ours\nTraceback")
    assert ended.stderr.endswith("RuntimeError: an error of ours\n")
    assert (tmp_path / "native").read_text() == "of a library\nof a child\n"


@pytest.mark.parametrize(("file", "module"), [("torch.py", "trainables.fit"), ("optuna/__init__.py", "studies.status")])
def test_file_that_would_be_imported_for_a_library_is_named(file: str, module: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    (tmp_path / "wandb").mkdir()  # which has no __init__.py, and W&B leaves such folders everywhere
    ended = shell(f"$PYTHON -m {module} --help", tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {tmp_path / file} would be imported in the library's place: rename it")
    assert ended.stderr.count("\n") == 1
    (tmp_path / file).unlink()
    ended = shell(f"$PYTHON -m {module} --help", tmp_path)
    assert ended.returncode == 0, ended.stderr
