"""``nss-wgpu serve``: what its options become, what it refuses, and what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nss.cli.commands.serve import PACKAGES
from nss.cli.help_sections import COMMON, SECTIONS
from nss.cli.option_words import OF_A_SERVER
from nss.cli.serve_options import OF_PHOTOS, seconds
from nss.errors import UsageError
from nss.masks.refine import Refinement
from tests.nss.cli.command_line import hidden_options, options, shown_options
from tests.nss.conftest import Outcome
from tests.project import ROOT

Command = Callable[..., Outcome]
TOKEN = "NSS_SERVE_TOKEN_FILE"
ADDRESS = "http://127.0.0.1:8765/#token=0123456789abcdef"


@dataclass
class Served:
    """What `nss.serve.http.server.run` was called with; it "listens" at once, says a line and ends."""

    status: int = 0
    settings: list[Any] = field(default_factory=list)

    def run(
        self, settings: Any, say: Callable[[str], None], *, ready: Callable[[str], None], progress_of: Callable
    ) -> int:
        self.settings.append(settings)
        with progress_of(len(settings.models)) as progress:
            progress.update(0, "u2netp")
            say("u2netp on numpy; see 'max_pixels' and 'public_urls'")
        ready(ADDRESS)
        return self.status


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """The server's stand-in, for which a token is made new."""
    monkeypatch.delenv(TOKEN, raising=False)
    server = Served()
    monkeypatch.setattr("nss.serve.http.server.run", server.run)
    return server


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """A file with a token of the user's."""
    file = tmp_path / "token"
    file.write_text("0123456789abcdef", "utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.usefixtures("served")
def test_the_address_is_all_that_goes_to_standard_output(command: Command) -> None:
    outcome = command("serve")
    assert (outcome.status, outcome.out) == (0, [ADDRESS])
    assert outcome.err == ["nss-wgpu: u2netp on numpy; see --max-pixels and --public-url"]


def test_without_options_it_is_on_this_machine_alone(command: Command, served: Served) -> None:
    command("serve")
    (settings,) = served.settings
    (model,) = settings.models
    assert (settings.host, settings.port) == ("127.0.0.1", 8765)
    assert (settings.allow_remote, settings.open_browser) == (False, False)
    assert (settings.public_urls, settings.allowed_origins, settings.jobs, settings.watch) == ((), (), None, None)
    assert (model.requested, model.model_config, model.max_pixels) == ("auto", {}, 300_000_000)
    assert model.network["backend"] == "auto"
    limits = settings.limits
    assert (limits.body_bytes, limits.pixels, limits.queue, limits.keep_seconds) == (256 << 20, 300_000_000, 64, 3600)
    assert limits.memory > 1 << 20


def test_every_option_of_the_server_reaches_it(
    command: Command, served: Served, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, str(token))
    arguments = (
        *("--host", "0.0.0.0", "--port", 0, "--open", "--allow-remote", "--jobs", 3, "--quiet"),
        *(
            "--public-url",
            "https://cut.example",
            "--public-url",
            "http://nas:8765",
            "--allow-origin",
            "https://a.example",
        ),
        *("--queue", 5, "--keep", "10m", "--max-bytes", "1.5M", "--max-pixels", 1000, "--memory", "1G"),
    )
    assert command("serve", *arguments).status == 0
    (settings,) = served.settings
    assert (settings.host, settings.port, settings.open_browser, settings.allow_remote) == ("0.0.0.0", 0, True, True)
    assert (settings.jobs, settings.quiet) == (3, True)
    assert settings.public_urls == ("https://cut.example", "http://nas:8765")
    assert settings.allowed_origins == ("https://a.example",)
    limits = settings.limits
    assert (limits.queue, limits.keep_seconds, limits.memory) == (5, 600, 1 << 30)
    assert (limits.body_bytes, limits.pixels) == (3 << 19, 1000)


def test_several_models_run_alike(command: Command, served: Served) -> None:
    command("serve", "--model", "u2netp", "--model", "isnet-general-use", "--backend", "numpy", "--no-cache")
    (settings,) = served.settings
    assert [model.requested for model in settings.models] == ["u2netp", "isnet-general-use"]
    assert {model.network["backend"] for model in settings.models} == {"numpy"}
    assert {model.network["cache"] for model in settings.models} == {False}
    command("serve", "--mode", "fast", "--precision", "f16", "--device", "0,1")
    (model,) = served.settings[-1].models
    assert (model.requested, model.network["precision"], model.network["device"]) == ("fast", "f16", "0,1")
    command("serve", "--model", "m.onnx", "--model-mean", "0.5", "--model-variant", "fp16")
    (model,) = served.settings[-1].models
    assert (model.model_config["mean"], model.network["model_variant"]) == ((0.5,), "fp16")


def test_a_watched_folder_has_the_options_of_remove(command: Command, served: Served) -> None:
    command("serve", "--watch", "in", "out", "--feather", 2, "--background", "white", "--format", "webp", "-r")
    watch = served.settings[-1].watch
    assert (watch.inbox, watch.outbox, watch.recursive, watch.exists) == (Path("in"), Path("out"), True, "skip")
    assert watch.refinement == Refinement(feather=2)
    assert (watch.composition.background, watch.encoding.format) == ("white", "webp")
    assert (watch.sidecar, watch.fail_empty, watch.verbose, watch.max_pixels) == (*[False] * 3, 300_000_000)
    command("serve", "--watch", "in", "out", "--exists", "rename", "--sidecar", "--fail-empty", "-v", "--max-pixels", 9)
    watch = served.settings[-1].watch
    assert (watch.exists, watch.sidecar, watch.fail_empty, watch.max_pixels) == ("rename", True, True, 9)
    assert watch.verbose
    assert watch.words("'feather' 0") == "--feather 0"  # in its journal


def test_its_status_is_the_servers(command: Command, served: Served) -> None:
    served.status = 143
    assert command("serve").status == 143


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--feather", "0"], "--feather is for the photos of --watch IN OUT, which is not there; who asks the API"),
        (["--background", "none.png"], "--background is for the photos of --watch"),
        (["--fail-empty"], "who asks the API says it with each photo"),
        (["--exists", "skip"], "--exists is for the photos of --watch IN OUT, which is not there"),
        (["-r"], "--recursive is for the photos of --watch"),
        (["--watch", "in"], "--watch"),
        (["--watch", "in", ""], "takes two folders, IN and OUT, and one of them is empty"),
        (["--watch", "a", "b", "--feather", "-1"], "--feather -1"),
        (["--watch", "a", "b", "--mask-only", "--mask-bits", "16", "--format", "webp"], "16 need png and tiff"),
        (["--watch", "a", "b", "--format", "gif"], "gif"),
        (["--port", "65536"], "--port"),
        (["--port", "-1"], "--port"),
        (["--queue", "0"], "--queue"),
        (["--keep", "long"], "--keep long: is no time; 90 (seconds), 10m and 2h are possible"),
        (["--keep", "0"], "--keep 0: is no time"),
        (["--max-bytes", "many"], "--max-bytes many: is no size"),
        (["--max-bytes", "0"], "--max-bytes 0: is no size"),
        (["--memory", "0"], "--memory 0: is no size"),
        (["--memory", "500"], "--memory 500: an upload may take an eighth of it"),
        (["--model", ""], "--model is empty"),
        (["--model", "u2netp", "--mode", "fast"], "--mode and --model exclude each other"),
        (["--model", "u2netp", "--model", "u2netp"], "--model u2netp: is there 2 times; once is enough"),
        (["--model", "a/b", "--model", "u2netp", "--model-variant", "fp16"], "--model-variant: of which of the models"),
        (["--model", "a.onnx", "--model", "b.onnx", "--model-size", "8"], "--model-size: of which of 2 models?"),
        (["--watch", "a", "b", "--quiet", "--verbose"], "--verbose and --quiet exclude each other"),
        (["-v"], "--verbose is for the photos of --watch"),
        (["photo.jpg"], "photo.jpg"),
    ],
)
def test_what_cannot_be_is_one_line(command: Command, served: Served, arguments: list[str], words: str) -> None:
    outcome = command("serve", *arguments)
    assert (outcome.status, outcome.out, served.settings) == (2, [], [])
    (line,) = outcome.err
    assert words in line


@pytest.mark.parametrize("missing", PACKAGES)
def test_without_the_extra_one_line_says_how_to_get_it(
    command: Command, served: Served, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("nss.cli.commands.serve.find_spec", lambda name: None if name == missing else object())
    outcome = command("serve")
    assert (outcome.status, outcome.out) == (2, [])
    assert outcome.err == ["nss-wgpu: serve needs the packages of its extra: pip install 'nss-wgpu[serve]'"]
    assert served.settings == []


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
@pytest.mark.usefixtures("served")
def test_who_else_can_read_the_token_is_said(command: Command, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, str(token))
    token.chmod(0o644)
    outcome = command("serve")
    assert outcome.status == 0
    assert outcome.err[0] == f"nss-wgpu: {token}: every user of this machine can read the token; chmod 600 it"
    assert command("serve", "-q") == Outcome(0, [ADDRESS], [])
    for mode in (0o640, 0o600):
        token.chmod(mode)
        assert len(command("serve").err) == 1


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("90s", 90), ("1.5m", 90), ("10 M", 600), ("2h", 7200), ("1d", 86400)]
)
def test_times(text: str, value: float) -> None:
    assert seconds("--keep", text) == value


@pytest.mark.parametrize("text", ["", "m", "-5", "1w", "1e3", "٣", "1h30m", "0.0"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--keep .*is no time"):
        seconds("--keep", text)


def test_every_option_is_in_one_section_of_the_help(command: Command) -> None:
    sections = shown_options(command("serve", "--help").out)
    assert list(sections) == [title for title in SECTIONS if title in sections]
    assert sorted(option for section in sections.values() for option in section) == sorted(options("serve"))
    assert hidden_options("serve") == set()
    assert set(sections[COMMON]) <= {"--port", "--open", "--model", "--mode", "--quiet", "--help"}
    watched = {"--" + name.replace("_", "-") for name in OF_PHOTOS}
    titles = {title for title, shown in sections.items() if watched & set(shown)}
    assert titles == {"A watched folder", "Mask, in the order in which it is refined", "Colour"}


def test_every_option_that_a_line_of_the_server_may_name_is_one(command: Command) -> None:
    help_text = " ".join(command("serve", "--help").out)
    assert [option for option in OF_A_SERVER.values() if option not in help_text] == []


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_of_the_help_is_longer_than_the_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, command("serve", "--help").out)) <= columns


def test_nobody_pays_for_the_server_who_does_not_serve() -> None:
    heavy = [*PACKAGES, "nss.serve", "numpy", "PIL", "h11"]
    script = f"""
import sys
import nss
from nss.cli.main import main
statuses = [main(arguments) for arguments in (["--help"], ["serve", "--help"], ["serve", "--queue", "x"])]
print(statuses, [name for name in {heavy} if name in sys.modules])
"""
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "[0, 0, 2] []"
