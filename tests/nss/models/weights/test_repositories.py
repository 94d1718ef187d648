"""Models from any repository, against a local server that plays the hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

import nss
from nss.errors import UsageError
from nss.models import catalogue, resolve
from nss.models.references import Reference
from nss.models.weights import model_store, repositories, transfer
from tests.nss.fake_hub import COMMIT, FILE, REPO, FakeHub
from tests.nss.repository import (
    CONFIGURATION,
    LATER_COMMIT,
    MODEL,
    WEIGHTS,
    network,
    notices,
    refusal,
    resolve_model,
    serving,
    variants,
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving(monkeypatch, tmp_path) as server:
        yield server


def test_the_only_onnx_file_is_fetched_with_its_configuration(hub: FakeHub, tmp_path: Path) -> None:
    resolved = resolve_model()
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / COMMIT
    assert (resolved.source, resolved.path) == ("cache", snapshot / "onnx" / "model.onnx")
    assert resolved.path.read_bytes() == MODEL
    assert (snapshot / "preprocessor_config.json").read_bytes() == CONFIGURATION
    assert not (snapshot / "config.json").exists()
    assert (resolved.spec.name, resolved.requested) == (f"{REPO}:{FILE}", REPO)
    pin = model_store.read_pin(f"{REPO}:{FILE}")
    assert pin == model_store.Pin(REPO, COMMIT, hub.sha256, len(MODEL))
    assert all(request.headers["user-agent"].startswith("nss-wgpu/") for request in hub.requests)


def test_what_is_here_needs_no_request(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = refusal(allow_fetch=False)
    assert str(failure) == ("someone/tiny is neither a file nor a model on this machine: 'allow_fetch' would fetch it")
    first = resolve_model()
    hub.requests.clear()
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        for name in (REPO, f"{REPO}:{FILE}"):
            again = resolve.resolve(name, allow_fetch=False, notify=pytest.fail)
            assert (again.path, again.spec) == (first.path, first.spec)
    assert hub.requests == []


def test_the_commit_stays_when_the_branch_moves(hub: FakeHub, tmp_path: Path) -> None:
    resolve_model()
    hub.history = {COMMIT: hub.files or {}}
    hub.commit, hub.files = LATER_COMMIT, variants("", "_fp16")
    assert resolve_model().path.read_bytes() == MODEL
    shutil.rmtree(tmp_path / "hub")
    hub.requests.clear()
    again = resolve_model()
    assert (again.path.read_bytes(), again.path.parents[1].name) == (MODEL, COMMIT)
    assert (again.path.parents[1] / "preprocessor_config.json").read_bytes() == CONFIGURATION
    assert not any(request.path.startswith("/api/") for request in hub.requests)
    # another file, and another revision asked for, have pins of their own
    assert resolve_model(variant="fp16").path.parents[1].name == LATER_COMMIT
    assert resolve_model(f"{REPO}@{LATER_COMMIT}").path.parents[1].name == LATER_COMMIT
    assert resolve_model(f"{REPO}:{FILE}").path.parents[1].name == COMMIT


def test_what_was_listed_is_fetched_though_the_branch_moves_meanwhile(hub: FakeHub) -> None:
    def move(_: str) -> None:
        hub.history = {COMMIT: hub.files or {}}
        hub.commit, hub.files = LATER_COMMIT, {}

    path = resolve.resolve(REPO, allow_fetch=True, notify=move).path
    assert (path.read_bytes(), path.parents[1].name) == (MODEL, COMMIT)


def test_a_file_that_was_pinned_by_its_whole_name_stays_when_it_is_chosen(hub: FakeHub, tmp_path: Path) -> None:
    resolve_model(f"{REPO}:{FILE}")
    shutil.rmtree(tmp_path / "hub")
    hub.history = {COMMIT: hub.files or {}}
    hub.commit, hub.files = LATER_COMMIT, {FILE: network(2, "w.bin"), "onnx/w.bin": WEIGHTS.tobytes()}
    resolved = resolve_model()
    assert (resolved.path.read_bytes(), resolved.path.parents[1].name) == (MODEL, COMMIT)
    assert [companion.filename for companion in resolved.spec.companions] == ["preprocessor_config.json"]


@pytest.mark.usefixtures("hub")
def test_what_another_program_fetched_is_taken_over_whole() -> None:
    path = Path(hf_hub_download(REPO, FILE))
    hf_hub_download(REPO, "preprocessor_config.json")
    assert repositories.pinned_spec(Reference(REPO)) is None
    assert resolve_model().path == path
    assert (path.parents[1] / "preprocessor_config.json").exists()
    assert repositories.pinned_spec(Reference(REPO)) is not None


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/1", LATER_COMMIT])
def test_a_branch_a_tag_or_a_commit(hub: FakeHub, revision: str) -> None:
    hub.branches = {"v1.0": LATER_COMMIT, "refs/pr/1": LATER_COMMIT}
    hub.history = {LATER_COMMIT: {"model.onnx": network(2)}}
    resolved = resolve_model(f"{REPO}@{revision}")
    assert (resolved.path.read_bytes(), resolved.path.parent.name) == (network(2), LATER_COMMIT)
    assert resolved.spec.name == f"{REPO}@{revision}:model.onnx"
    assert str(refusal(f"{REPO}@nothing")) == (
        f"{hub.url}/{REPO} has no revision nothing: name a branch, tag or commit that it has"
    )


def test_variants_are_chosen_by_name(hub: FakeHub) -> None:
    hub.files = variants("", "_fp16", "_quantized")
    assert resolve_model().path.name == "model.onnx"
    assert resolve_model(variant="fp16").path.read_bytes() == hub.files["onnx/model_fp16.onnx"]
    assert (
        resolve_model(variant="q8").path.name == resolve_model(variant="quantized").path.name == "model_quantized.onnx"
    )
    assert resolve_model(f"{REPO}:onnx/model_fp16.onnx").path.name == "model_fp16.onnx"
    assert len(hub.transfers) == 3


def test_several_files_and_no_choice_are_listed(hub: FakeHub) -> None:
    hub.files = {"a.onnx": bytes(4_600_000), "b_fp16.onnx": b"b"}
    error = refusal()
    assert (type(error), error.exit_code) == (UsageError, 2)
    assert str(error) == (
        "someone/tiny has 2 ONNX files; name one as someone/tiny:FILE, or say 'model_variant' (fp16): "
        "a.onnx (4.6 MB), b_fp16.onnx (0.0 MB)"
    )
    error = refusal(f"{REPO}:c.onnx")
    assert (error.exit_code, str(error)[:52]) == (2, "someone/tiny has no file c.onnx; it has a.onnx (4.6 ")
    error = refusal(variant="q4")
    assert error.exit_code == 2
    assert str(error).startswith("someone/tiny has no variant q4, or several; name a file as someone/tiny:FILE: a.onnx")
    hub.files = {f"{number:02}.onnx": b"x" for number in range(25)}
    assert str(refusal()).endswith("19.onnx (0.0 MB) and 5 more")
    assert hub.transfers == []


def test_a_repository_without_onnx_files(hub: FakeHub) -> None:
    hub.files = {"model.safetensors": b"x"}
    error = refusal()
    assert (error.exit_code, str(error)) == (3, f"{hub.url}/{REPO} has no ONNX file at main")


@pytest.mark.parametrize(
    ("card", "licence", "where"),
    [
        ({}, "unknown", "/someone/tiny"),
        ({"license": 7, "license_link": ["x"], "tags": 3, "model-index": "x"}, "unknown", "/someone/tiny"),
        ({"license": ["mit", "apache-2.0"]}, "mit, apache-2.0", "/someone/tiny"),
        ({"license": "other", "license_name": "mine\x1b[1m\n"}, "mine[1m", "/someone/tiny"),
        ({"license": "other", "license_link": "LICENSE"}, "other", f"/someone/tiny/blob/{COMMIT}/LICENSE"),
        ({"license": "mit", "license_link": "../../etc"}, "mit", "/someone/tiny"),
        ({"license": "mit", "license_link": "https://example.org/licence"}, "mit", "https://example.org/licence"),
    ],
)
def test_the_licence_is_what_the_card_says(
    hub: FakeHub, card: dict[str, object], licence: str, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.card = card
    (line,) = notices()
    assert "".join(capfd.readouterr()) == ""
    spec = resolve_model().spec
    assert spec.licence == licence
    assert spec.commercial == ("yes" if licence == "mit" else "ask")
    assert spec.licence_url == (where if where.startswith("https") else hub.url + where)
    assert f", licence {licence}" in line
    assert line.endswith(f"; see {spec.licence_url}")
    assert "commercial" not in line or spec.licence not in ("unknown", "mit")


def test_a_licence_that_was_not_shown_is_shown_once(hub: FakeHub) -> None:
    resolve.resolve(REPO, allow_fetch=True, quiet=True, notify=pytest.fail)
    (line,) = notices()
    assert line == f"licence of someone/tiny: apache-2.0; see {hub.url}/{REPO}"
    assert notices() == []


@pytest.mark.parametrize("code", ["GatedRepo", "other"])
def test_a_gated_repository_is_explained(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    hub.valid_token, hub.gated, hub.gate_code = "hf_right", "auto", code
    error = refusal()
    assert error.exit_code == 3
    assert str(error) == (
        f"someone/tiny:onnx/model.onnx is gated and no token is set: accept its licence (apache-2.0) at "
        f"{hub.url}/{REPO} with your account, then set HF_TOKEN to a token of that account"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert resolve_model().path.read_bytes() == MODEL


def test_offline_without_the_model_is_one_line(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = (
        "someone/tiny is not on this machine and HF_HUB_OFFLINE is set: unset it, or pass the path of an ONNX file"
    )
    assert str(refusal()) == expected
    assert hub.requests == []


def test_a_hub_that_never_answers_is_given_up(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CONNECTION_LIMIT_S", 0.2)
    hub.hangs = True
    assert str(refusal()).startswith(f"cannot reach {hub.url} for someone/tiny (")


@pytest.mark.parametrize(
    "listing",
    [
        b"<html>Sign in</html>",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b'{"id": "a/b", "sha": "main", "siblings": []}',
        b'{"id": "a/b", "sha": "../../../x", "siblings": []}',
        json.dumps({"id": "a/b", "sha": COMMIT}).encode(),
        json.dumps({"id": "a/b", "sha": COMMIT, "siblings": 7}).encode(),
        json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": 1}]}).encode(),
        json.dumps({"id": "a/b", "sha": COMMIT, "siblings": ["a.onnx"]}).encode(),
        json.dumps({"sha": COMMIT, "siblings": [{"rfilename": "a.onnx", "size": 1, "lfs": {"sha256": 7}}]}).encode(),
        json.dumps(
            {"sha": COMMIT, "siblings": [{"rfilename": "a.onnx", "size": 1, "lfs": {"sha256": "../x"}}]}
        ).encode(),
        json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": "a.onnx"}]}).encode(),
        json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": "a.onnx", "size": -1}]}).encode(),
    ],
)
def test_an_answer_that_no_hub_gives(hub: FakeHub, listing: bytes) -> None:
    hub.listing = listing
    assert str(refusal()) == f"{hub.url} does not answer like a Hugging Face hub: check HF_ENDPOINT"


def test_names_that_lead_out_of_the_repository_are_passed_over(hub: FakeHub, tmp_path: Path) -> None:
    siblings = [{"rfilename": name, "size": 1} for name in ("../../../x.onnx", "/x.onnx", "a/../x.onnx")]
    hub.listing = json.dumps({"id": REPO, "sha": COMMIT, "siblings": siblings}).encode()
    assert "has no ONNX file at main" in str(refusal())
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_variant_of_a_model_of_the_catalogue_has_its_licence_and_its_network(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = catalogue.CATALOGUE["rmbg-1.4"]
    monkeypatch.setitem(catalogue.CATALOGUE, "rmbg-1.4", replace(entry, repo=REPO))
    hub.files = {**variants("", "_fp16"), "other.onnx": network(7)}
    lines: list[str] = []
    spec = resolve.resolve("rmbg-1.4", variant="fp16", allow_fetch=True, notify=lines.append).spec
    assert lines == [
        f"{REPO}:onnx/model_fp16.onnx: 0.0 MB, licence BRIA RMBG-1.4, commercial use by agreement with its owner; "
        f"see {entry.licence_url}"
    ]
    assert (spec.title, spec.interface, spec.filename) == (entry.title, entry.interface, "onnx/model_fp16.onnx")
    assert resolve_model(f"{REPO}:other.onnx").spec.interface == {}
    assert resolve.resolve("rmbg-1.4", variant="fp16", allow_fetch=False, notify=pytest.fail).spec == spec


def test_a_file_that_the_catalogue_knows_has_its_interface(hub: FakeHub) -> None:
    entry = catalogue.CATALOGUE["u2netp"]
    hub.files = {"any.onnx": (Path(catalogue.__file__).parent / str(entry.filename)).read_bytes()}
    spec = resolve_model().spec
    assert (spec.interface, spec.licence, spec.name) == (entry.interface, "apache-2.0", f"{REPO}:any.onnx")


def test_an_end_between_pin_and_note_costs_nothing(hub: FakeHub) -> None:
    resolve_model()
    name = f"{REPO}:{FILE}"
    pin = model_store.read_pin(name)
    model_store.forget_pin(name)
    assert pin is not None
    model_store.write_pin(name, pin)
    hub.commit, hub.files = LATER_COMMIT, variants("")
    assert resolve_model().path.read_bytes() == network(1)
    for note in ({}, {"size": "x"}, {"size": 1, "companions": [1]}):
        model_store.write_note(name, note)
        assert resolve_model().path.parents[1].name == LATER_COMMIT


def test_a_state_folder_that_cannot_be_written(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NSS_STATE_DIR", str(tmp_path / "file" / "state"))
    assert str(refusal()).startswith("cannot store someone/tiny:onnx/model.onnx: ")
    assert hub.transfers == []


def test_the_command_takes_a_repository_and_a_variant(
    hub: FakeHub, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from nss.cli.main import main

    hub.files = {**variants("", "_fp16"), "second.onnx": network(3)}

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main([*arguments])
        return status, "".join(capsys.readouterr())

    remove = ["remove", str(photo), "--overwrite", "--backend", "numpy", "--model", REPO, "--json"]
    status, lines = run(*remove, "--model-variant", "fp16")
    assert (status, f'"model": "{REPO}:onnx/model_fp16.onnx"' in lines) == (0, True), lines
    for command in ("bench", "parity"):
        backend = ["--backend", "numpy", *(["--runs", "1"] if command == "bench" else [])]
        assert run(command, REPO, "--model-variant", "fp16", *backend)[0] == 0
    assert (
        nss.remove(photo, model=REPO, model_variant="fp16", backend="numpy").info.model
        == f"{REPO}:onnx/model_fp16.onnx"
    )
    del hub.files["onnx/model.onnx"]
    status, lines = run(*remove)
    assert (status, "someone/tiny has 2 ONNX files" in lines) == (2, True), lines
    assert run("remove", str(photo), "--mode", "fast", "--model-variant", "fp16")[0] == 2
    assert run("remove", str(photo), "--overwrite", "--model-variant", "fp16")[0] == 2
    assert run("remove", str(photo), "--mask", str(photo), "--model-variant", "fp16")[0] == 2
    assert run(*remove, "--model-variant", "f16")[0] == 2
