"""What the catalogue says of models, and by which names it knows them."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nss.errors import ModelUnavailableError
from nss.interfaces import interface
from nss.interfaces.interface import IMAGENET_MEAN, IMAGENET_STD, Description, EdgeSize, FixedSize
from nss.models import catalogue, local_models, resolve
from nss.models.catalogue import CATALOGUE, spec_by_name
from nss.models.weights import model_store
from tests.nss.fake_hub import isolate, tiny_spec
from tests.project import ROOT

CONTENT = random.Random(41).randbytes(30_000)

# name: release file, MD5, SHA-256, size, licence, side, mean, std, activation
PUBLISHED = {
    "u2netp": (None, "8e83ca70", "309c8469", 4_574_861, "Apache-2.0", 320, IMAGENET_MEAN, IMAGENET_STD, "none"),
    "u2net": ("u2net", "60024c5c", "8d10d2f3", 175_997_641, "Apache-2.0", 320, IMAGENET_MEAN, IMAGENET_STD, "none"),
    "u2net_human_seg": (
        *("u2net_human_seg", "c09ddc2e", "01eb6a29", 175_997_641, "Apache-2.0"),
        *(320, IMAGENET_MEAN, IMAGENET_STD, "none"),
    ),
    "silueta": ("silueta", "55e59e0d", "75da6c8d", 44_173_029, "Apache-2.0", 320, IMAGENET_MEAN, IMAGENET_STD, "none"),
    "isnet-general-use": (
        *("isnet-general-use", "fc16ebd8", "60920e99", 178_648_008, "Apache-2.0"),
        *(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), "none"),
    ),
    "isnet-anime": (
        *("isnet-anime", "6f184e75", "f15622d8", 176_069_933, "Apache-2.0"),
        *(1024, IMAGENET_MEAN, (1.0, 1.0, 1.0), "none"),
    ),
    "rmbg-1.4": (None, None, None, 176_153_355, "BRIA RMBG-1.4", 1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), "none"),
    "rmbg-2.0": (None, None, "5b486f08", 1_024_331_469, "CC BY-NC 4.0", 1024, IMAGENET_MEAN, IMAGENET_STD, "none"),
} | {
    f"birefnet-{name}": (f"BiRefNet-{file}", md5, sha256, size, "MIT", 1024, IMAGENET_MEAN, IMAGENET_STD, "sigmoid")
    for name, file, md5, sha256, size in (
        ("general", "general-epoch_244", "7a35a014", "58f621f0", 972_666_916),
        ("general-lite", "general-bb_swin_v1_tiny-epoch_232", "4fab47ad", "56000243", 224_005_088),
        ("portrait", "portrait-epoch_150", "c3a64a6a", None, None),
        ("dis", "DIS-epoch_590", "2d4d4410", None, None),
        ("hrsod", "HRSOD_DHU-epoch_115", "c017ade5", None, None),
        ("cod", "COD-epoch_125", "f6d0d21c", None, None),
        ("massive", "massive-TR_DIS5K_TR_TEs-epoch_420", "33e726a2", None, None),
    )
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_published_model_has_its_hash_its_licence_and_its_preparation(name: str) -> None:
    file, md5, sha256, size, licence, side, mean, std, activation = PUBLISHED[name]
    spec, interface_keys = CATALOGUE[name], CATALOGUE[name].interface
    assert spec.release == (f"{file}.onnx" if file else None)
    assert (spec.md5 and spec.md5[:8], spec.sha256 and spec.sha256[:8], spec.size) == (md5, sha256, size)
    assert all(len(digest) == length for digest, length in ((spec.md5, 32), (spec.sha256, 64)) if digest)
    assert spec.licence == licence
    assert spec.licence_url.startswith("https://")
    assert (interface_keys["size"], interface_keys["mean"], interface_keys["std"]) == (FixedSize(side, side), mean, std)
    assert (interface_keys["activation"], interface_keys["scale"], interface_keys["channels"]) == (
        activation,
        1 / 255,
        "RGB",
    )
    if spec.release:
        assert (interface_keys["filter"], interface_keys["output"], spec.rembg) == ("lanczos-antialias", 0, name)


def test_modnet_is_known_by_its_hash_and_not_fetched() -> None:
    spec = CATALOGUE["modnet"]
    assert spec.sha256 == "07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9"
    assert (spec.size, spec.licence, spec.repo, spec.release) == (25_888_640, "Apache-2.0", None, None)
    assert spec.interface["size"] == EdgeSize("shortest", 512, 32)
    mean, std = spec.interface["mean"][0], spec.interface["std"][0]
    values = [(x * spec.interface["scale"] - mean) / std for x in (0, 127.5, 255)]
    assert values == pytest.approx([-1, 0, 1])
    with pytest.raises(ModelUnavailableError, match=r"it is not fetched; put the file at .*modnet\.onnx"):
        resolve.resolve("modnet", allow_fetch=True)
    with pytest.raises(ModelUnavailableError, match="it is not fetched"):
        local_models.pull(spec)


def test_a_file_is_hashed_once_for_each_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several models are known by their MD5 alone, whatever the size of the file."""
    (tmp_path / "mine.onnx").write_bytes(b"small")
    algorithms: list[str] = []
    monkeypatch.setattr(model_store, "digest_of", lambda _, algorithm: algorithms.append(algorithm) or "")
    assert local_models.spec_for_file(tmp_path / "mine.onnx").name == "mine"
    assert algorithms == ["md5"]


def test_the_catalogue_has_no_other_models_and_one_that_is_built_in() -> None:
    assert set(CATALOGUE) == {*PUBLISHED, "modnet"}
    assert [spec.name for spec in CATALOGUE.values() if spec.builtin] == ["u2netp"]
    assert {spec.name for spec in CATALOGUE.values() if spec.gated} == {"rmbg-2.0"}
    assert set(catalogue.AUTO_ORDER) | set(catalogue.HINTS) <= set(CATALOGUE)


def test_commercial_use_is_yes_no_or_to_be_asked() -> None:
    uses = {spec.name: spec.commercial for spec in CATALOGUE.values()}
    assert {name for name, use in uses.items() if use != "yes"} == {"rmbg-1.4", "rmbg-2.0"}
    assert (uses["rmbg-1.4"], uses["rmbg-2.0"]) == ("no", "ask")
    assert all(CATALOGUE[name].commercial == "yes" for name in catalogue.HINTS)


def test_a_file_of_which_nothing_is_known_has_an_unknown_licence(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(CONTENT)
    spec = resolve.resolve(tmp_path / "own.onnx", allow_fetch=False).spec
    assert (spec.licence, spec.commercial) == ("unknown", "ask")


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_leaves_nothing_to_guess(spec: catalogue.ModelSpec) -> None:
    assert set(Description.__annotations__) - set(spec.interface) <= {"input"}


@pytest.mark.parametrize("spec", CATALOGUE.values(), ids=CATALOGUE)
def test_an_interface_of_the_catalogue_can_be_given_as_json(spec: catalogue.ModelSpec) -> None:
    assert interface.parse_description(interface.as_json(spec.interface), "catalogue") == spec.interface


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("u2net", "u2net"),
        ("U2Net", "u2net"),
        ("BiRefNet-General-Lite", "birefnet-general-lite"),
        ("ZhengPeng7/BiRefNet-portrait", "birefnet-portrait"),
        ("RMBG-1.4", "rmbg-1.4"),
        ("briaai/RMBG-1.4", "rmbg-1.4"),
        ("BRIAAI/rmbg-2.0", "rmbg-2.0"),
        ("bria-rmbg", "rmbg-2.0"),
        ("Fast", "rmbg-1.4"),
        ("best", "rmbg-2.0"),
        ("auto", None),
        ("someone/RMBG-1.4", None),
        ("briaai/u2net", None),
        ("rmbg", None),
    ],
)
def test_a_name_is_known_in_any_case_with_or_without_the_vendor(name: str, expected: str | None) -> None:
    spec = spec_by_name(name)
    assert (spec and spec.name) == expected


def test_no_name_stands_for_two_models() -> None:
    names = [name for spec in CATALOGUE.values() for name in spec.names]
    assert len(names) == len(set(names))


def test_a_repository_with_a_file_is_not_written_as_a_path() -> None:
    assert not resolve.is_path("owner/name:onnx/model.onnx")
    assert not resolve.is_path("owner/name")


@pytest.mark.parametrize("name", ["./u2netp", "../u2netp", "/u2netp", "~/u2netp", "u2netp.onnx", "RMBG-1.4.ONNX"])
def test_what_is_written_as_a_path_is_no_name(name: str) -> None:
    assert resolve.is_path(name)
    with pytest.raises(ModelUnavailableError, match="no model file"):
        resolve.resolve(name, allow_fetch=True)


@pytest.mark.parametrize("name", ["u2netp", "briaai/RMBG-1.4"])
def test_a_file_that_exists_wins_over_a_name(folder: Path, name: str) -> None:
    assert not resolve.is_path(name)
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(CONTENT)
    resolved = resolve.resolve(name, allow_fetch=False)
    assert (resolved.source, resolved.path, resolved.spec.licence) == ("file", Path(name), "unknown")


def test_a_folder_or_a_file_named_as_a_mode_does_not_stand_in_the_way(folder: Path) -> None:
    (folder / "u2netp").mkdir()
    assert resolve.resolve("u2netp", allow_fetch=False).source == "builtin"
    for name in ("fast", "auto"):
        (folder / name).write_bytes(CONTENT)
    assert resolve.resolve("auto", allow_fetch=False).source == "builtin"
    with pytest.raises(ModelUnavailableError, match=r"rmbg-1\.4 is not on this machine"):
        resolve.resolve("fast", allow_fetch=False)


def rembg_file(home: Path, name: str, content: bytes, *, old: bool = False) -> Path:
    path = home / f"{name}.onnx" if old else home / "models" / name / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def u2net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> catalogue.ModelSpec:
    """The catalogue's entry of U²-Net, for ``CONTENT``; nothing can be fetched."""
    isolate(monkeypatch, tmp_path, "http://127.0.0.1:9")
    monkeypatch.setenv("NSS_RELEASE_URL", "http://127.0.0.1:9")
    for variable in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    spec = replace(CATALOGUE["u2net"], size=len(CONTENT), sha256=digest)
    monkeypatch.setitem(CATALOGUE, "u2net", spec)
    return spec


@pytest.mark.parametrize(
    ("variables", "home", "old"),
    [
        ({}, "home/.u2net", True),
        ({}, "home/.rembg", False),
        ({"XDG_DATA_HOME": "data"}, "data/.u2net", True),
        ({"XDG_DATA_HOME": "data"}, "data/rembg", False),
        ({"REMBG_HOME": "rembg", "XDG_DATA_HOME": "data"}, "rembg", False),
        ({"U2NET_HOME": "mine", "XDG_DATA_HOME": "data", "REMBG_HOME": "rembg"}, "mine", True),
        ({"U2NET_HOME": "mine", "REMBG_HOME": "rembg"}, "mine", False),
    ],
)
def test_rembgs_files_are_found_by_name_wherever_it_keeps_them(
    u2net: catalogue.ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variables: dict[str, str],
    home: str,
    old: bool,
) -> None:
    for variable, folder in variables.items():
        monkeypatch.setenv(variable, str(tmp_path / folder))
    path = rembg_file(tmp_path / home, "u2net", CONTENT, old=old)
    resolved = resolve.resolve("U2Net", allow_fetch=False, quiet=True)
    assert (resolved.spec, resolved.source, resolved.path) == (u2net, "rembg", path)


@pytest.mark.usefixtures("u2net")
def test_a_damaged_file_of_rembgs_is_passed_over_and_left_as_it_is(tmp_path: Path) -> None:
    path = rembg_file(tmp_path / "home" / ".u2net", "u2net", CONTENT[::-1], old=True)
    notices: list[str] = []
    with pytest.raises(ModelUnavailableError, match="u2net is not on this machine: 'allow_fetch' would fetch it"):
        resolve.resolve("u2net", allow_fetch=False, notify=notices.append)
    assert notices[0].startswith(f"passed over u2net: {path} is not u2net: sha256 ")
    assert path.read_bytes() == CONTENT[::-1]


@pytest.mark.usefixtures("u2net")
def test_bria_rmbg_is_found_in_rembgs_folder_and_never_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(CATALOGUE, "rmbg-2.0", replace(CATALOGUE["rmbg-2.0"], size=len(CONTENT), sha256=digest))
    with pytest.raises(ModelUnavailableError, match=r"rmbg-2\.0 is not on this machine: bria-rmbg is rembg's file"):
        resolve.resolve("bria-rmbg", allow_fetch=True)
    path = rembg_file(tmp_path / "home" / ".rembg", "bria-rmbg", CONTENT)
    for name in ("bria-rmbg", "rmbg-2.0", "best"):
        assert resolve.resolve(name, allow_fetch=False, quiet=True).path == path


def test_a_file_in_the_model_folder_comes_before_rembgs(u2net: catalogue.ModelSpec, tmp_path: Path) -> None:
    rembg_file(tmp_path / "home" / ".u2net", "u2net", CONTENT, old=True)
    model_store.model_dir().mkdir()
    own = model_store.model_dir() / "u2net.onnx"
    own.write_bytes(CONTENT)
    assert local_models.locate(u2net) == ("file", own)


@pytest.mark.usefixtures("u2net")
def test_a_file_by_path_is_known_by_its_md5_where_no_more_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.onnx"
    path.write_bytes(CONTENT[::-1])
    md5 = hashlib.md5(CONTENT[::-1], usedforsecurity=False).hexdigest()
    spec = tiny_spec(CONTENT, size=None, sha256=None, md5=md5)
    monkeypatch.setitem(CATALOGUE, "tiny", spec)
    assert local_models.spec_for_file(path) is spec
    assert local_models.spec_for_file(path, CONTENT[::-1]) is spec
    assert local_models.spec_for_file(path, CONTENT).name == "u2net"


def test_importing_the_catalogue_imports_nothing_heavy() -> None:
    program = "import sys, nss.models.resolve, nss.models.auto; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["huggingface_hub", "platformdirs", "numpy", "onnx", "PIL", "rich"]
    command = [sys.executable, "-c", program, *heavy]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "[]"
