"""remove --on ray as far as no cluster is needed: options that mean nothing there, the plan, and lines of others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nss.cli.cluster_run import _foreign_lines_dropped
from nss.cli.main import main
from tests.nss.tiny_models import probability, save_model

pytest.importorskip("ray", reason="a cluster is Ray's: pip install 'nss-wgpu[ray]'")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--jobs", "2"], "--jobs is not for --on ray: Ray shares the work out by the cores and GPUs that it has"),
        (["--memory", "1G"], "--memory is not for --on ray: Ray keeps to the memory of its object store"),
        (["--device", "0"], "--device is not for --on ray: Ray gives each of its processes a GPU"),
        (["--sidecar"], "--sidecar is not for --on ray: the manifest says what came of each photo"),
        (["--rename"], "--exists rename is not for --on ray: a second run would not know which outputs are there"),
        (["--all-files"], "--all-files is not for --on ray: it would read the beginning of every file"),
        (["-o", "-"], "-o - is not for --on ray: standard output takes a single image"),
        (["-o", ""], "--on ray needs -o: the folder of all outputs and of the manifest, a path or an address"),
        (["-o", "http://host/out"], "http://host/out: nothing can be written there; give a folder, s3:// or gs://"),
    ],
)
def test_what_means_nothing_on_a_cluster(
    photo: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = [] if "-o" in arguments else ["-o", "out"]
    assert main(["remove", str(photo), "--on", "ray", "--model", "u2netp", *output, *arguments]) == 2
    assert capsys.readouterr().err.splitlines() == [f"nss-wgpu: {line}"]


def test_no_other_kind_of_cluster_is_known(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", str(photo), "--on", "spark"]) == 2
    told = capsys.readouterr().err
    assert told == "nss-wgpu: Invalid value for '--on': 'spark' is not one of 'ray'. See `nss-wgpu remove --help`.\n"


def test_an_address_without_a_cluster(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", str(photo), "--ray-address", "auto"]) == 2
    assert capsys.readouterr().err == "nss-wgpu: --ray-address is the cluster's of --on ray; give that too\n"


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["s3://shop/a.jpg"], 1, "s3://shop/a.jpg: is an address; `nss-wgpu remove --on ray` reads it"),
        (
            ["photo.jpg", "-o", "s3://shop/"],
            2,
            "-o s3://shop/ is an address, to which `nss-wgpu remove --on ray` writes; give a path",
        ),
    ],
)
def test_an_address_without_on_ray_is_no_path(
    words: list[str],
    status: int,
    line: str,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    assert main(["remove", *words]) == status
    assert capsys.readouterr().err.splitlines()[0] == f"nss-wgpu: {line}"
    assert list(photo.parent.iterdir()) == [photo]


def test_a_plan_needs_no_cluster(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_model(tmp_path / "m.onnx", probability())
    out = tmp_path / "out"
    assert main(["remove", str(photo), "--on", "ray", "--model", str(model), "-o", str(out), "--dry-run"]) == 0
    assert capsys.readouterr().out == f"{photo} -> {out}/photo.cutout.png\n"
    assert not out.exists()
    out.mkdir()
    (out / "photo.cutout.png").touch()
    assert main(["remove", str(photo), "--on", "ray", "--model", str(model), "-o", str(out), "--dry-run"]) == 1
    assert (
        capsys.readouterr().err == "nss-wgpu: photo.cutout.png: exists already; pass --exists overwrite to replace it\n"
    )


def test_lines_of_another_thread_are_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with _foreign_lines_dropped():
        other = threading.Thread(target=print, args=["(raylet) a worker died"])
        other.start()
        other.join()
        print("of the command")
    print("behind it")
    assert capsys.readouterr().out == "of the command\nbehind it\n"
