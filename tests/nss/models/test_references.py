"""What names a model in a repository, and which of its files that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nss.errors import UsageError
from nss.models.references import VARIANTS, Reference, choose, from_text, parse


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("briaai/RMBG-1.4", Reference("briaai/RMBG-1.4")),
        ("onnx-community/BiRefNet_lite-ONNX", Reference("onnx-community/BiRefNet_lite-ONNX")),
        ("a/b@main", Reference("a/b", "main")),
        ("a/b@refs/pr/3", Reference("a/b", "refs/pr/3")),
        ("a/b@v1.0:onnx/model.onnx", Reference("a/b", "v1.0", "onnx/model.onnx")),
        ("a/b:Model.ONNX", Reference("a/b", None, "Model.ONNX")),
        ("a/b.onnx:c.onnx", Reference("a/b.onnx", None, "c.onnx")),
        ("a/b:c@d.onnx", Reference("a/b", None, "c@d.onnx")),
    ],
)
def test_references_are_read(text: str, reference: Reference) -> None:
    assert from_text(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        *("a", "u2netp", "auto", "", "a/b/c", "/a/b", "./a/b", "../b", "a/..", "a/.", "~/b", "a/~b", "a\\b", "a/b\\c"),
        *(
            "a/b.onnx",
            "a/b.ONNX",
            "a/b@x.onnx",
            "models/mine.onnx",
            "C:/models/b",
            "a /b",
            "a/b c",
            "-a/b",
            "a/b-",
            "é/b",
        ),
        *("a--b/c", "a/b..c", "a/b.git", "a/" + "b" * 97, "a/b@", "a/b@/x", "a/b@x/", "a/b@x..y", "a/b@x y", "a/b@x^"),
        *("a/b:", "a/b\n", "a/b@x\n", "https://example.org/a/b", "a/b#c", "a/b?c"),
    ],
)
def test_what_is_no_reference(text: str) -> None:
    assert from_text(text) is None
    assert parse(text) is None


@pytest.mark.parametrize(
    "file", ["weights.bin", "../x.onnx", "/x.onnx", "a//x.onnx", "./x.onnx", "a\\x.onnx", "a:x.onnx"]
)
def test_the_file_is_an_onnx_file_of_the_repository(file: str) -> None:
    with pytest.raises(UsageError, match="is the path of an ONNX file in the repository"):
        from_text(f"a/b:{file}")


def test_a_path_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("some/model") == Reference("some/model")
    Path("some").mkdir()
    Path("some/model").touch()
    assert parse("some/model") is None
    assert parse("some/model@main") == Reference("some/model", "main")
    with pytest.raises(UsageError, match="some/model is no repository"):
        parse("some/model", "fp16")


def test_a_model_of_the_catalogue_is_itself_unless_more_is_asked_for() -> None:
    for name in ("rmbg-1.4", "fast", "briaai/RMBG-1.4"):
        assert parse(name) is None
        assert parse(name, "fp16") == Reference("briaai/RMBG-1.4", variant="fp16")
    assert parse("briaai/RMBG-1.4@main") == Reference("briaai/RMBG-1.4", "main")
    assert parse("briaai/RMBG-1.4:onnx/model.onnx") == Reference("briaai/RMBG-1.4", None, "onnx/model.onnx")


@pytest.mark.parametrize(
    ("model", "variant", "message"),
    [
        ("a/b", "fp17", "'model_variant' fp17 is none: there are fp32, fp16, int8, "),
        ("auto", "fp16", "'model_variant' chooses among a repository's files, and auto is no repository"),
        ("my.onnx", "fp16", "'model_variant' chooses among a repository's files, and my.onnx is no repository"),
        ("a/b:c.onnx", "fp16", "'model_variant' chooses among a repository's files, and a/b:c.onnx names one of them"),
        ("u2netp", "fp16", "u2netp is a single file: leave 'model_variant' out"),
    ],
)
def test_a_variant_of_what_has_none_is_refused(model: str, variant: str, message: str) -> None:
    with pytest.raises(UsageError) as failure:
        parse(model, variant)
    assert str(failure.value).startswith(message)


ALL = [f"onnx/model{suffix}.onnx" for suffix in VARIANTS.values()]


@pytest.mark.parametrize(
    ("files", "variant", "file"),
    [
        (["a.onnx"], None, "a.onnx"),
        (["onnx/deep/a_fp16.onnx"], None, "onnx/deep/a_fp16.onnx"),
        (ALL, None, "onnx/model.onnx"),
        ([*ALL, "other.onnx"], None, "onnx/model.onnx"),
        (["model.onnx", "model_fp16.onnx"], None, "model.onnx"),
        (["model.onnx", "onnx/model.onnx"], None, "onnx/model.onnx"),
        (["isnet.onnx", "isnet_fp16.onnx"], None, "isnet.onnx"),
        (["isnet.onnx", "isnet_fp16.onnx"], "fp16", "isnet_fp16.onnx"),
        (["isnet.onnx", "u2net.onnx"], None, None),
        (["model_fp16.onnx", "model_q4.onnx"], None, None),
        (["isnet_fp16.onnx", "u2net_fp16.onnx"], "fp16", None),
        (["model_fp16.onnx"], "q4", None),
        (["model_uint8.onnx", "model_q4f16.onnx"], "int8", None),
        (["model_fp16.onnx"], "fp32", None),
        ([], None, None),
        *((ALL, variant, f"onnx/model{suffix}.onnx") for variant, suffix in VARIANTS.items()),
    ],
)
def test_which_file_it_is(files: list[str], variant: str | None, file: str | None) -> None:
    assert choose(files, Reference("a/b", variant=variant)) == file


def test_the_variants_are_those_of_transformers_js() -> None:
    dtypes = {"fp32": "", "fp16": "_fp16", "int8": "_int8", "uint8": "_uint8", "q8": "_quantized", "q4": "_q4"}
    assert dtypes.items() <= VARIANTS.items()
    assert (VARIANTS["q4f16"], VARIANTS["bnb4"], VARIANTS["quantized"]) == ("_q4f16", "_bnb4", "_quantized")
