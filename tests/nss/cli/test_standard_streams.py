"""Standard streams that are closed when the command starts: nothing crashes, and nothing is written elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nss.child import run_child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")


def run(arguments: str, *, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command through a shell, with redirections behind its arguments."""
    return run_child(["/bin/sh", "-c", f'exec "$0" -m nss {arguments}', sys.executable], folder=folder)


COMMANDS = {
    "--help": 0,
    "": 2,
    "nonsense": 2,
    "models list --json": 0,
    "models info u2netp": 0,
    "models": 2,
    "devices --nonsense": 2,
    "check photo.png": 0,
    "check nowhere.png": 1,
    "eval . .": 1,
    "remove photo.png --dry-run": 0,
    "remove nowhere.png": 1,
    "remove photo.png --mask photo.png": 1,
}


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_command_minds_a_closed_stream(photo: Path, closed: str) -> None:
    """All of them in one process, each from ``main`` on, to import things once."""
    script = (
        "import sys\nfrom nss.cli.main import main\n"
        f"statuses = [main(line.split()) for line in {list(COMMANDS)!r}]\n"
        "open('statuses', 'w').write(repr(statuses))"
    )
    command = ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script]
    outcome = run_child(command, folder=photo.parent)
    assert outcome.returncode == 0
    assert "Traceback" not in outcome.stderr
    assert (photo.parent / "statuses").read_text() == repr(list(COMMANDS.values()))


def test_closed_standard_input_is_no_terminal(photo: Path) -> None:
    outcome = run("remove - --mask photo.png -o out.png <&-", folder=photo.parent)
    message = "is closed; send an image to it (nss-wgpu remove - < photo.jpg)"
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (1, "", f"nss-wgpu: <standard input>: {message}\n")


def test_an_image_for_closed_standard_output_is_refused(photo: Path) -> None:
    outcome = run("remove - < photo.png >&-", folder=photo.parent)
    message = "standard output is closed, and the image would be lost; give it a name with -o"
    assert (outcome.returncode, outcome.stderr) == (2, f"nss-wgpu: {message}\n")


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Native code writes to descriptor 2, whatever that is by then."""
    script = (
        "import os\nfrom nss.cli import terminal\n"
        "with terminal.standard_streams(), open('photo.png', 'wb') as file:\n"
        "    os.write(1, b'a warning'), os.write(2, b'a warning')\n"
    )
    command = ["/bin/sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, script]
    assert run_child(command, folder=tmp_path).returncode == 0
    assert (tmp_path / "photo.png").read_bytes() == b""
