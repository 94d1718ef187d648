"""Fields of a request: the command's options under the same names, or refused for a reason."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.models import OptionInfo

from nss.cli import option_groups
from nss.cli.commands.remove import remove
from nss.errors import UsageError
from nss.interfaces.interface import Description
from nss.pipes import OneTimeFile
from nss.serve.field_table import FIELDS, MODES, OF_NETWORK_MASK, OURS, REFUSED
from nss.serve.fields import Order, parse_order
from nss.serve.limits import Limits
from nss.serve.negotiation import NETWORK_MASK
from nss.serve.problem import Problem

LIMITS = Limits(memory=1 << 30, pixels=1_000_000)
SENT = {"file-mask": OneTimeFile(Path("mask.png"), b"mask"), "file-beach": OneTimeFile(Path("beach.jpg"), b"beach")}


def file_of(name: str) -> OneTimeFile:
    if name not in SENT:
        raise Problem(400, f"no file {name}")
    return SENT[name]


def order(query: str, accept: str | None = None) -> Order:
    return parse_order(parse_qsl(query, keep_blank_values=True), accept, limits=LIMITS, file_of=file_of)


def refusal(query: str, accept: str | None = None) -> str:
    with pytest.raises(Problem) as problem:
        order(query, accept)
    assert problem.value.status == 400
    return problem.value.detail


def command_options() -> dict[str, inspect.Parameter]:
    """The parameters of ``nss-wgpu remove`` by their options' long names, without dashes in front."""
    app = typer.Typer(add_completion=False)
    app.command()(remove)
    parameters = inspect.signature(remove).parameters
    options: dict[str, inspect.Parameter] = {}
    for option in typer.main.get_command(app).params:
        names = [name for name in option.opts if name.startswith("--") and name != "--help"]
        options |= {name[2:]: parameters[str(option.name)] for name in names}
    return options


OPTIONS = command_options()


def test_each_option_of_the_command_is_a_field_or_is_refused() -> None:
    assert len(OPTIONS) > 50
    assert set(FIELDS) & set(REFUSED) == set()
    assert {*FIELDS, *REFUSED} - set(OURS) == set(OPTIONS)
    assert set(OURS) & set(OPTIONS) == set()
    assert {f"model-{key}" for key in Description.__annotations__} - set(FIELDS) == {"model-dtype"}


@pytest.mark.parametrize("name", sorted(set(FIELDS) - set(OURS)))
def test_a_field_has_the_default_and_the_choices_of_the_option(name: str) -> None:
    field, option = FIELDS[name], OPTIONS[name]
    # a server has a limit of its own, by default that of the command
    assert (Limits(memory=1).pixels if name == "max-pixels" else field.default) == option.default
    kind = get_args(option.annotation)[0]
    types = get_args(kind) or (kind,)
    wanted = {"number": float, "integer": int, "boolean": bool}.get(field.kind)
    if wanted is not None:
        assert wanted in types
    enums = [type_ for type_ in types if hasattr(type_, "__members__")]
    if enums:
        assert field.choices == tuple(value.value for value in enums[0])
    info = next(part for part in get_args(option.annotation) if isinstance(part, OptionInfo))
    if field.owner == "interface" and field.choices:
        assert info.metavar == "|".join(field.choices)
    if field.several:
        assert list in [getattr(type_, "__origin__", None) for type_ in types]
    if info.min is not None:
        assert field.minimum == info.min


RANGES = [f for f in FIELDS.values() if f.kind in ("number", "integer") and f.owner in ("refinement", "composition")]


@pytest.mark.parametrize("field", RANGES, ids=lambda field: field.name)
def test_a_field_has_the_range_of_the_option(field: Any) -> None:
    """The command's own groups take what a field takes, and refuse what lies just beyond."""
    group: Callable[..., Any] = getattr(option_groups, field.owner)
    with_it = {"mask_only": True} if field.name == "mask-bits" else {}

    def fits(value: float) -> bool:
        try:
            group(**{field.parameter: value}, **with_it)
        except UsageError:
            return False
        return True

    ends = field.choices or [end for end in (field.minimum, field.maximum) if end is not None]
    assert ends
    step = 1 if field.kind == "integer" else 1e-9
    for end in ends:
        beyond = end - step if end == min(ends) and field.minimum is not None else end + step
        assert (fits(end), fits(beyond)) == (True, False)
        assert order(f"{field.name}={end}" + ("&mask-only" if with_it else ""))
        assert "is possible" in refusal(f"{field.name}={beyond!r}")


@pytest.mark.parametrize(("name", "ends"), [("quality", (1, 100)), ("effort", (0, 9))])
def test_a_field_of_the_file_has_the_range_of_the_option(name: str, ends: tuple[int, int]) -> None:
    assert (FIELDS[name].minimum, FIELDS[name].maximum) == ends
    for value in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(UsageError):
            option_groups.encoding(format="webp", **{name: value}).encoding(None)
        assert f"'{name}'" in refusal(f"format=webp&{name}={value}")
    for value in ends:
        assert getattr(order(f"format=webp&{name}={value}").encoding, name) == value


def test_no_field_is_what_the_command_is_without_options() -> None:
    plain = order("")
    assert plain.refinement == option_groups.refinement()
    assert plain.composition == option_groups.composition()
    assert plain.encoding == option_groups.encoding().encoding(None)
    assert (plain.name, plain.model, plain.model_config, plain.mask) == ("photo", None, {}, None)
    assert (plain.fail_empty, plain.max_pixels, plain.keep_photo) == (False, LIMITS.pixels, False)


def test_all_of_them() -> None:
    whole = order(
        "guided=8&black=.1&white=0.9&drop-islands=1e2&fill-holes=50&smooth=2&expand=-1.5&feather=%2B1&invert&"
        "background=%23ff880080&crop=10&decontaminate=1&hidden=bleed&keep-exif=true&keep-gps=1&format=WebP&quality=90&"
        "effort=3&fail-empty=&max-pixels=5000&model=u2netp&model-size=384x512&model-inputs=a%3D0&model-inputs=b%3D%5B1%5D"
        "&name=../holiday/dog.jpg&keep-photo=TRUE"
    )
    assert whole.refinement.settings() == {
        "guided": 8.0,
        "black": 0.1,
        "white": 0.9,
        "drop_islands": 100.0,
        "fill_holes": 50.0,
        "smooth": 2.0,
        "expand": -1.5,
        "feather": 1.0,
    }
    assert whole.composition.settings() == {
        "background": "#ff880080",
        "hidden": "bleed",
        "decontaminate": 1.0,
        "invert": True,
        "crop": 10,
        "keep_exif": True,
        "keep_gps": True,
    }
    assert whole.encoding is not None
    assert (whole.encoding.format, whole.encoding.quality, whole.encoding.effort) == ("webp", 90, 3)
    assert (whole.name, whole.model, whole.max_pixels) == ("dog.jpg", "u2netp", 5000)
    assert (whole.fail_empty, whole.keep_photo) == (True, True)
    assert whole.model_config["inputs"] == {"a": 0.0, "b": [1]}
    assert str(whole.model_config["size"]) == "384x512"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_says_why(name: str) -> None:
    assert refusal(f"{name}=x") == f"'{name}' is no field: {REFUSED[name]}"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("drop_islands=3", "\"drop_islands\" is no field: is 'drop-islands' meant?"),
        ("feathers=3", "\"feathers\" is no field: is 'feather' meant?"),
        ("xyzzy=1", '"xyzzy" is no field; /docs has a table of them'),
        ("=1", '"" is no field; /docs has a table of them'),
        ("feather=1&feather=1", "'feather' is there twice: send it once"),
        ("invert=yes", "'invert' \"yes\": true or false is possible"),
        ("guided=", "'guided' \"\": a number from 0 to 1000 is possible"),
        ("crop=1.5", "'crop' \"1.5\": a whole number of 0 or more is possible"),
        ("mask-bits=12", "'mask-bits' \"12\": one of 8, 16 is possible"),
        ("mask-bits=16", "'mask-bits': 16 bits are for a mask alone"),
        ("hidden=Keep", "'hidden' \"Keep\": one of keep, bleed, zero is possible"),
        ("format=gif", "'format' \"gif\": one of png, webp, avif, jpeg, tiff, jpg, tif is possible"),
        ("quality=80", "'quality' 80: png is lossless; leave it out, or see 'effort'"),
        ("format=webp&mask-only&mask-bits=16", "'format' and 'mask-bits': webp holds 8 bits; 16 need png and tiff"),
        ("keep-gps=1", "'keep-gps': to keep the place of the photo (GPS) its EXIF must be kept too"),
        ("mask-only&background=red", "'mask-only' and 'background': a mask alone has no background; leave one of"),
        ("threshold=0.5&white=0.9", "'threshold' is 'black' and 'white' in one; leave the others out"),
        ("black=0.6&white=0.4", "'black' 0.6, 'white' 0.4: 0 <= black <= white <= 1 must hold"),
        ("mode=best&model=u2netp", "'mode' and 'model' exclude each other: fast is rmbg-1.4 and best is rmbg-2.0"),
        ("model=", "'model' is empty: give a name that GET /api/v1/models lists"),
        ("mask=file-mask&model=u2netp", "'mask' takes the place of a network: leave 'model' out"),
        ("mask=file-mask&model-mean=0", "'mask' takes the place of a network: leave the fields of its model"),
        ("mask=../mask.png", "'mask' \"../mask.png\": send the image first by POST /api/v1/files"),
        ("mask=file-gone", "no file file-gone"),
        ("max-pixels=0", "'max-pixels' \"0\": a whole number of 1 or more is possible"),
        ("max-pixels=1000001", "'max-pixels' 1000001: this server takes photos of 1000000 at most"),
        ("model-mean=half", "'model-mean' \"half\": a number, or one for each channel, is possible"),
        ("model-channel=1_0", "'model-channel' \"1_0\": a whole number is possible"),
        ("model-inputs=x", "'model-inputs' \"x\": NAME=VALUE is possible"),
        ("model-layout=CHWN", "'model-layout' \"CHWN\": NCHW or NHWC is possible"),
        ("name=" + "x" * 257, "'name' \"xxxx"),
        ("background=lab(1 2 3)", "'background' \"lab(1 2 3)\": lab() is not read; give the colour as rgb()"),
        ("background=blur:0", "'background' \"blur:0\": the radius of the blur is a number of pixels, 1000 at most"),
        ("background=file-gone", "no file file-gone"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_a_request(query: str, message: str) -> None:
    detail = refusal(query)
    assert detail.startswith(message)
    assert "\n" not in detail
    assert re.search(r"'[a-z]*_[a-z]*'", detail) is None


@pytest.mark.parametrize("name", [f.name for f in FIELDS.values() if f.kind in ("number", "integer")])
def test_what_only_python_takes_for_a_number_is_none(name: str) -> None:
    for value in (*("nan", "inf", "-inf", "1e999", "1_0", "٣", "１", "1" * 5000, " 1", "1\n"), "abc", "0x1", "1,5", ""):
        with pytest.raises(Problem) as problem:
            parse_order([(name, value)], None, limits=LIMITS, file_of=file_of)
        assert problem.value.status == 400


@pytest.mark.parametrize(
    "text",
    [__file__, "/etc/passwd", "../x.png", "file.png", "file-", "file-../x", "~/x", "/dev/stdin", "red\0", "ｒed"],
)
def test_a_background_is_never_looked_for_among_files(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("is_file", "exists", "stat", "open"):
        monkeypatch.setattr(Path, name, lambda *_args, **_more: pytest.fail("a caller's text is a path"))
    for field in ("background", "mask"):
        with pytest.raises(Problem, match=r"POST /api/v1/files"):
            parse_order([(field, text)], None, limits=LIMITS, file_of=lambda _: pytest.fail("it is no id"))


def test_files_that_were_sent_ahead() -> None:
    both = order("mask=file-mask&background=file-beach")
    assert (both.mask, both.composition.background) == (SENT["file-mask"], SENT["file-beach"])
    assert [order(f"background={text}").composition.background for text in ("blur", "blur:12.5", "White")] == [
        "blur",
        "blur:12.5",
        "White",
    ]


def test_a_mode_is_a_model() -> None:
    assert {mode: order(f"mode={mode}").model for mode in MODES} == {"fast": "rmbg-1.4", "best": "rmbg-2.0"}
    assert order("threshold=0.5").refinement.settings() == {"black": 0.5, "white": 0.5}


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("", "photo"),
        ("a/b/dog.jpg", "dog.jpg"),
        ("C:\\photos\\dog.jpg", "dog.jpg"),
        ("..", "photo"),
        ("a/", "photo"),
        ("Hündin 1.png", "Hündin 1.png"),
        ("a\nb\x1b[2J", "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[2J"),
        ("\ud800.png", "?.png"),
    ],
)
def test_a_name_is_the_last_part_of_one_line(sent: str, name: str) -> None:
    assert parse_order([("name", sent)], None, limits=LIMITS, file_of=file_of).name == name


def test_the_networks_mask_takes_only_what_the_network_does() -> None:
    raw = order("model=u2netp&model-mean=0&max-pixels=5&fail-empty&name=x&keep-photo", NETWORK_MASK)
    assert (raw.encoding, raw.model, raw.model_config) == (None, "u2netp", {"mean": (0.0,)})
    samples = {"number": "0", "integer": "8", "boolean": "1", "file": "file-mask", "text": "none"}
    for field in FIELDS.values():
        if field.name not in OF_NETWORK_MASK:
            value = field.choices[0] if field.choices else samples[field.kind]
            detail = refusal(f"{field.name}={value}", NETWORK_MASK)
            assert detail.startswith(f"'{field.name}': nothing is done to {NETWORK_MASK}")


NAMES = st.sampled_from([*FIELDS, *REFUSED, "wibble", ""]) | st.text(max_size=20)
VALUES = (
    st.text(max_size=40)
    | st.text(alphabet="0123456789.eE+-_x/,:%()#", max_size=20)
    | st.sampled_from(
        ["true", "", "none", "blur:nan", "rgb(1 2 3", "hsl(0,0%,0%)", "hwb(1 1e308% 1e308%)", "file-mask", "x=[NaN]"]
    )
    | st.sampled_from([f"x={'[' * 2000}", f"x={'[' * 900}{']' * 900}", f"x={'9' * 4090}", "x={}", "x=[[1],[2,3]]"])
    | st.floats().map(str)
    | st.integers().map(str)
)
ACCEPTS = (
    st.none() | st.text(max_size=40) | st.sampled_from([NETWORK_MASK, "image/webp", "*/*;q=0", 'a/b;c="', "x" * 5000])
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4), ACCEPTS)
def test_nothing_but_a_problem_is_ever_raised(query: list[tuple[str, str]], accept: str | None) -> None:
    parsed = answer(query, accept)
    if isinstance(parsed, Problem):
        assert parsed.status in (400, 406)
        assert len(parsed.detail) <= 1000
        parsed.body()
    else:
        assert parsed.max_pixels <= LIMITS.pixels
        assert all(math.isfinite(value) for value in parsed.refinement.settings().values())
        parsed.name.encode()


def answer(query: list[tuple[str, str]], accept: str | None) -> Order | Problem:
    try:
        return parse_order(query, accept, limits=LIMITS, file_of=file_of)
    except Problem as problem:
        return problem
