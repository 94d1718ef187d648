"""What "auto" chooses, what it says of it, and what it learns from runs."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import engine
import nss
from nss.errors import ModelUnavailableError
from nss.models import auto, catalogue, local_models, resolve, run_times
from nss.models.weights import model_store
from tests.nss.conftest import Outcome
from tests.nss.fake_hub import FakeHub, isolate, tiny_spec

CONTENT = random.Random(31).randbytes(50_000)
CARD = "Some Card (Vulkan, wgpu)"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub that has one model, "tiny", the first in the order; the catalogue's own entries stay."""
    with FakeHub(CONTENT) as server:
        isolate(monkeypatch, tmp_path, server.url)
        monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(CONTENT, sha256=server.sha256))
        monkeypatch.setattr(catalogue, "AUTO_ORDER", ("tiny", *catalogue.AUTO_ORDER))
        yield server


@pytest.fixture
def folder(hub: FakeHub) -> Path:
    """The model folder, with "tiny" in it."""
    assert hub.requests == []
    path = model_store.model_dir()
    path.mkdir()
    (path / "tiny.onnx").write_bytes(CONTENT)
    return path


def choice(**options: object) -> tuple[str, list[str]]:
    """The name of what "auto" takes, and what it says."""
    notices: list[str] = []
    candidate = next(auto.candidates(notify=notices.append, **options))  # type: ignore[arg-type]
    auto.say_choice(candidate, quiet=False, notify=notices.append)
    return candidate.spec.name, notices


def card_here(monkeypatch: pytest.MonkeyPatch, description: str | None) -> None:
    """The machine has this adapter, or none."""

    def place(backend: str, *, adapter: object) -> engine.Place:
        assert adapter is None
        if description and backend in ("auto", "webgpu"):
            return engine.Place("webgpu", "", {}, device=description)
        if backend == "webgpu":
            raise engine.BackendError("there is no adapter")
        return engine.Place("numpy", "", {})

    monkeypatch.setitem(vars(engine), "place", place)


def test_the_order_holds_models_for_any_subject_and_ends_at_the_built_in() -> None:
    order = [catalogue.CATALOGUE[name] for name in catalogue.AUTO_ORDER]
    # transformers before convolutions, then the larger mask, then the larger file, of those that differ by a tenth
    ranks = [
        (not spec.name.startswith("birefnet"), -spec.interface["size"].of(1, 1)[0], -round((spec.size or 0) / 1e7))
        for spec in order
    ]
    assert ranks == sorted(ranks)
    assert not any(spec.gated for spec in order)
    words = {word for spec in order for word in re.split("[-_]", spec.name)}
    assert words.isdisjoint({"human", "anime", "portrait", "cod", "dis", "modnet"})
    assert order[-1].builtin


def test_auto_never_fetches_and_ends_at_the_built_in(hub: FakeHub) -> None:
    notices: list[str] = []
    resolved = resolve.resolve("auto", allow_fetch=True, notify=notices.append)
    assert (resolved.spec.name, resolved.source) == ("u2netp", "builtin")
    assert (hub.requests, notices) == ([], [])


def test_auto_takes_the_first_of_the_order_that_is_here(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve.resolve("tiny", allow_fetch=True, quiet=True)
    hub.requests.clear()
    resolved = resolve.resolve("auto", allow_fetch=True, quiet=True)
    assert (resolved.spec.name, resolved.source, resolved.requested) == ("tiny", "cache", "auto")
    assert auto.hint(resolved) is None
    assert hub.requests == []
    monkeypatch.setattr(catalogue, "AUTO_ORDER", ("u2netp", "tiny"))
    assert resolve.resolve("auto", allow_fetch=True).spec.name == "u2netp"


@pytest.mark.usefixtures("folder")
def test_auto_says_name_and_licence_of_what_is_not_the_built_in_once_a_run() -> None:
    line = "auto took tiny: licence Test licence, commercial use: ask; see https://example.org/licence"
    resolve.resolve("auto", allow_fetch=False)  # in the log alone nobody was shown it
    assert not model_store.licence_was_shown("tiny")
    assert choice() == ("tiny", [line])
    assert choice() == ("tiny", [line])
    notices: list[str] = []
    resolve.resolve("tiny", allow_fetch=False, notify=notices.append)  # the licence has been shown by that line
    resolve.resolve("auto", allow_fetch=False, notify=notices.append, quiet=True)
    assert notices == []


@pytest.mark.usefixtures("folder")
def test_auto_never_takes_a_model_that_is_not_in_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "AUTO_ORDER", ("u2netp",))
    assert choice() == ("u2netp", [])
    assert resolve.resolve("tiny", allow_fetch=False, notify=lambda _: None).spec.name == "tiny"


@pytest.mark.usefixtures("hub")
def test_auto_never_takes_a_file_from_rembgs_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = replace(catalogue.CATALOGUE["tiny"], rembg="tiny")
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", spec)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    (tmp_path / "tiny.onnx").write_bytes(CONTENT)
    assert resolve.resolve("tiny", allow_fetch=False, quiet=True).source == "rembg"
    assert choice() == ("u2netp", [])


def test_auto_says_which_damaged_file_it_passes_over(folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(b"half")
    name, notices = choice()
    assert name == "u2netp"
    (line,) = notices
    assert line.startswith("passed over tiny: ")
    resolve.resolve("auto", allow_fetch=False, notify=notices.append, quiet=True)
    assert len(notices) == 1


def test_auto_takes_the_next_where_a_model_cannot_be_opened(folder: Path) -> None:
    notices: list[str] = []  # tiny is as published, and no ONNX file
    with nss.Remover(notify=notices.append) as remover:
        assert remover.model.spec.name == "u2netp"
    (line,) = notices
    assert line.startswith(f"passed over tiny: model '{folder / 'tiny.onnx'}' is not an ONNX file")
    assert "is not an ONNX file" in line
    nss.Remover(notify=notices.append, quiet=True).close()
    assert len(notices) == 1
    with pytest.raises(ModelUnavailableError, match="is not an ONNX file"):
        nss.Remover("tiny", quiet=True)


@pytest.mark.usefixtures("folder")
def test_auto_leaves_out_what_was_slow_where_it_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = str(catalogue.CATALOGUE["tiny"].sha256)
    run_times.record_seconds(sha256, "numpy", "2 threads", 4.9)
    assert choice(backend="numpy")[0] == "tiny"
    run_times.record_seconds(sha256, "numpy", "2 threads", 12.4)
    run_times.record_seconds(sha256, "webgpu", CARD, 0.3)
    name, notices = choice(backend="numpy")
    assert name == "u2netp"
    assert notices == ["passed over tiny: it took 12 s for a photo here; ask for it by its name to use it all the same"]
    card_here(monkeypatch, CARD)
    assert choice()[0] == "tiny"
    card_here(monkeypatch, "Another card")  # on which it has not run yet
    assert choice()[0] == "tiny"
    card_here(monkeypatch, None)
    assert choice()[0] == "u2netp"
    assert resolve.resolve("tiny", allow_fetch=False, quiet=True).spec.name == "tiny"


@pytest.mark.parametrize("name", ["bench", "parity"])
def test_bench_and_parity_choose_for_the_backend_and_device_as_remove_does(
    command: Callable[..., Outcome], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[object, object]] = []

    def none(*, backend: str, device: object, **_: object) -> Iterator[local_models.ResolvedModel]:
        places.append((backend, device))
        raise ModelUnavailableError("none is here")

    monkeypatch.setattr(auto, "candidates", none)
    outcome = command(name, "auto", "--backend", "webgpu", "--device", "1")
    assert outcome.err == ["nss-wgpu: none is here"]
    assert places == [("webgpu", "1")]


def test_adapters_are_looked_for_only_where_a_model_was_slow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(engine), "place", lambda *_, **__: pytest.fail("looked for adapters"))
    assert choice()[0] == "tiny"
    assert (folder / "tiny.onnx").exists()


def test_a_remover_records_what_a_photo_took(
    folder: Path, small: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small.read_bytes()
    (folder / "tiny.onnx").write_bytes(content)
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny_spec(content))
    with nss.Remover("auto", backend="numpy", quiet=True) as remover:
        remover.remove(photo)
        sha256 = remover.model.sha256
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert 0 < run_times.seconds(sha256, "numpy", None) < 5
    with nss.Remover("u2netp", backend="numpy") as remover:
        remover.remove(photo)
    assert len(list((model_store.state_dir() / "seconds").iterdir())) == 1  # the built-in one is never left out


def recorded_after(backend: str, *runs: float) -> float:
    spec = catalogue.CATALOGUE["u2net"]
    recorder = run_times.Recorder(local_models.ResolvedModel(spec, Path("u2net.onnx"), "file", "u2net", content=b""))
    sha256 = local_models.ResolvedModel(spec, Path("u2net.onnx"), "file", "u2net", content=b"").sha256
    for seconds in runs:
        recorder.add(backend, CARD, seconds)
    return run_times.seconds(sha256, backend, CARD)


def test_the_first_run_on_a_gpu_is_not_what_a_photo_takes() -> None:
    assert recorded_after("webgpu", 9.0) == 0
    assert recorded_after("webgpu", 9.0, 0.2) == 0.2
    assert recorded_after("webgpu", 9.0, 6.0) == 6.0
    assert recorded_after("webgpu", 20.0) == 20.0  # no driver compiles for so long


def test_on_the_processor_the_first_run_counts_and_faster_ones_after_it() -> None:
    assert recorded_after("numpy", 7.0, 8.0) == 7.0
    assert recorded_after("numpy", 7.0, 3.0, 9.0) == 3.0
    assert recorded_after("numpy", 6.5) == 6.5  # another process, the last one counts


def test_times_that_cannot_be_written_or_read_cost_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_times.record_seconds("a" * 64, "numpy", "", 6.0)
    (model_store.state_dir() / "seconds" / f"{'a' * 64}.json").write_text("[1]")
    assert run_times.slowest("a" * 64) == 0
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NSS_STATE_DIR", str(tmp_path / "file" / "state"))
    run_times.record_seconds("a" * 64, "numpy", "", 6.0)
    assert run_times.slowest("a" * 64) == 0


BUILT_IN = local_models.ResolvedModel(catalogue.CATALOGUE["u2netp"], Path("u2netp.onnx"), "builtin", "auto")


@pytest.mark.usefixtures("hub")
def test_the_hint_names_first_what_may_be_used_commercially_and_then_rmbg(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auto.hint(BUILT_IN) == (
        "used the built-in U²-Netp; larger, with a 1024² mask: "
        "`nss-wgpu models pull birefnet-general-lite` (224 MB, licence MIT, commercial use: yes) or "
        "`nss-wgpu models pull rmbg-1.4` (176 MB, licence BRIA RMBG-1.4, commercial use: no)"
    )
    assert auto.hint(replace(BUILT_IN, requested="u2netp")) is None
    here = {"birefnet-general-lite"}  # and yet not taken: slow, or damaged
    monkeypatch.setattr(local_models, "locate", lambda spec, **_: ("cache", Path("x")) if spec.name in here else None)
    assert "pull isnet-general-use` (179 MB, licence Apache-2.0, commercial use: yes) or" in str(auto.hint(BUILT_IN))
    here |= {"isnet-general-use", "rmbg-1.4"}
    assert auto.hint(BUILT_IN) is None


def test_the_hint_comes_after_a_run_with_the_built_in_network(command: Callable[..., Outcome], photo: Path) -> None:
    assert any("models pull birefnet-general-lite" in line for line in command("remove", photo).err)
    assert command("remove", photo, "--overwrite", "--model", "u2netp").err == []
