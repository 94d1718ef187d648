"""Dockerfile and unit of ``nss-wgpu serve``: options that there are, files that there are, a user who is nobody."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from nss.cli.commands.serve import TOKEN_FILE
from tests.nss.cli.command_line import options
from tests.project import ROOT

UNIT = ROOT / "docs" / "nss-wgpu.service"
NOBODY = "65534"


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile: word and rest, continued lines as one."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> dict[str, str]:
    """The last instruction of each word in the stage that becomes the image."""
    every = instructions()
    start = max(i for i, (word, _) in enumerate(every) if word == "FROM")
    return dict(every[start:])


def in_tree_for_docker() -> set[str]:
    """What .dockerignore lets in at the top."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in lines
    return {line[1:] for line in lines if line.startswith("!")}


def option_names(words: list[str]) -> list[str]:
    return [word for word in words if word.startswith("--")]


def test_what_the_image_starts_is_a_command_that_there_is() -> None:
    program, command, *rest = json.loads(last_stage()["ENTRYPOINT"])
    assert (program, command) == ("nss-wgpu", "serve")
    assert "--allow-remote" in rest
    assert set(option_names(rest)) <= options("serve")
    assert rest[rest.index("--port") + 1] == last_stage()["EXPOSE"]
    assert "CMD" not in last_stage()  # what is written behind the image's name adds to the rest


def test_the_image_runs_as_nobody_and_keeps_things_where_nobody_may() -> None:
    stage = last_stage()
    assert stage["USER"].split(":") == [NOBODY, NOBODY]
    volume = stage["VOLUME"]
    environment = dict(word.split("=", 1) for word in shlex.split(stage["ENV"]))
    folders = {name: environment[name] for name in ("HOME", "XDG_CACHE_HOME")}
    assert all(Path(folder).is_relative_to(volume) for folder in folders.values())
    assert environment[TOKEN_FILE].startswith("/run/secrets/")
    makes = [shlex.split(rest) for word, rest in instructions() if word == "RUN" and rest.startswith("install -d")]
    assert [words[-1] for words in makes if words[words.index("-o") + 1] == NOBODY] == [volume]


def test_it_is_looked_whether_the_server_lives() -> None:
    _, command = last_stage()["HEALTHCHECK"].split("CMD", 1)
    *_, script = json.loads(command)
    compile(script, "HEALTHCHECK", "exec")
    assert f"http://127.0.0.1:{last_stage()['EXPOSE']}/healthz" in script


def test_what_is_copied_is_there_and_all_that_the_wheel_needs() -> None:
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == in_tree_for_docker()
    assert [name for name in copied if not (ROOT / name).exists()] == []
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    wheel = project.split("[tool.hatch.build.targets.wheel]")[1].split("[tool.ruff]")[0]
    packages = re.search(r"^packages = \[(.+)\]", wheel, re.MULTILINE)
    forced = re.findall(r'^"([^"]+)" = ', wheel, re.MULTILINE)
    assert packages
    assert {*re.findall(r'"(\w+)"', packages[1]), *forced, "README.md", "NOTICE", "pyproject.toml"} == copied


def unit() -> dict[str, list[str]]:
    """The unit's settings, each with its values in their order."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def test_what_the_unit_starts_is_a_command_that_there_is() -> None:
    (start,) = unit()["ExecStart"]
    assert start.split()[1:2] == ["serve"]
    assert set(option_names(start.split())) <= options("serve")
    examples = re.findall(r"^#   ExecStart=(/.+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert examples
    assert all(set(option_names(line.split())) <= options("serve") for line in examples)


def test_the_unit_hands_the_token_on_and_keeps_it_out_of_the_journal() -> None:
    settings = unit()
    (credential,) = settings["LoadCredential"]
    assert f"{TOKEN_FILE}=%d/{credential.split(':')[0]}" in settings["Environment"]
    assert settings["StandardOutput"] == ["null"]
    page = (ROOT / "docs" / "serve.md").read_text("utf-8")
    assert credential.split(":")[1] in page
    for key, value in {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "Restart": "on-failure",
    }.items():
        assert settings[key] == [value]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    program = unit()["ExecStart"][0].split()[0]
    copy.write_text(UNIT.read_text("utf-8").replace(f"={program} ", f"={shutil.which('true')} "), "utf-8")
    process = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
