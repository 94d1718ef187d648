"""Photos of every kind that web/image decodes, and what nss.photos makes of each: the oracle of the tests there."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from nss.errors import ImageError
from nss.photos import image_io

ROOT = Path(__file__).parents[3]
WIDTH, HEIGHT = 61, 43
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]
"""Says of itself that it is for grey, and holds nothing of the kind: damaged, for whoever would convert by it."""


def scene() -> Image.Image:
    """A small part of a photo, in RGB."""
    with Image.open(ROOT / "examples" / "astronaut.png") as image:
        return image.convert("RGB").crop((150, 20, 150 + 4 * WIDTH, 20 + 4 * HEIGHT)).resize((WIDTH, HEIGHT))


def alpha() -> np.ndarray:
    """uint8 HxW: rows of 0, 1, 127 and 255, then everything."""
    levels = np.random.default_rng(16).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    for row, level in enumerate((0, 1, 127, 255)):
        levels[4 * row : 4 * row + 4] = level
    return levels


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(
    samples: np.ndarray,
    depth: int,
    kind: int,
    *,
    interlaced: bool = False,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """A PNG file of the samples, HxWxC, as Pillow does not write it: any depth, any filter, Adam7.

    Args:
        samples: unsigned integers below 2**depth.
        depth: bits a sample.
        kind: the colour type.
        interlaced: in seven passes.
        chunks: kind and content of those between header and pixels.
    """
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    step = max(1, samples.shape[2] * depth // 8)
    for left, top, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::across]
        if not part.size:
            continue
        above = b""
        for y, row in enumerate(part):
            flat = row.reshape(-1)
            if depth == 16:
                line = flat.astype(">u2").tobytes()
            else:
                bits = (flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1
                line = np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()
            data += bytes([y % 5]) + _filtered(y % 5, line, above or bytes(len(line)), step)
            above = line
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    packed = zlib.compress(data)
    pieces = [(b"IDAT", packed[i : i + 1000]) for i in range(0, len(packed), 1000)]
    parts = [(b"IHDR", header), *chunks, *pieces, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind_ + content + struct.pack(">I", zlib.crc32(kind_ + content))
        for kind_, content in parts
    )


def _filtered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    here, up = np.frombuffer(line, np.uint8).astype(int), np.frombuffer(above, np.uint8).astype(int)
    left = np.concatenate([np.zeros(step, int), here])[: len(here)]
    corner = np.concatenate([np.zeros(step, int), up])[: len(here)]
    estimate = left + up - corner
    a, b, c = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    return ((here - [0, left, up, (left + up) // 2, paeth][kind]) & 255).astype(np.uint8).tobytes()


def png_files() -> dict[str, bytes]:
    """Every colour type and depth, transparent colours, both orders, profiles, orientation."""
    rgb, levels = np.asarray(scene()), alpha()
    rgba = np.dstack([rgb, levels])
    wide = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(np.uint16)
    key = tuple(int(v) for v in wide[5, 7])
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8).tobytes()
    index = rgb[..., :1]
    profile = zlib.compress(SRGB)
    files = {
        "rgb": encoded(scene(), "PNG"),
        "rgba": encoded(Image.fromarray(rgba), "PNG"),
        "profile": png(rgb, 8, 2, chunks=((b"iCCP", b"sRGB\0\0" + profile),)),
        "grey-profile": png(rgb[..., :1], 8, 0, chunks=((b"iCCP", b"grey\0\0" + zlib.compress(GREY_PROFILE)),)),
        "grey-alpha": png(rgba[..., 2:], 8, 4),
        "grey-alpha-16": png(wide[..., 2:], 16, 4),
        "key-8": png(rgb, 8, 2, chunks=((b"tRNS", struct.pack(">3H", *rgb[3, 3])),)),
        "key-grey-8": png(index, 8, 0, chunks=((b"tRNS", struct.pack(">H", index[3, 3, 0])),)),
        "key-16": png(wide[..., :3], 16, 2, chunks=((b"tRNS", struct.pack(">3H", *key[:3])),)),
        "key-grey-16": png(wide[..., :1], 16, 0, chunks=((b"tRNS", struct.pack(">H", key[0])),)),
        "palette-alpha": png(index, 8, 3, chunks=((b"PLTE", palette), (b"tRNS", levels.reshape(-1)[:200].tobytes()))),
        "xmp": png(rgb, 8, 2, chunks=((b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation="6"/>'),)),
        "astronaut": (ROOT / "examples" / "astronaut.png").read_bytes(),
        "one-pixel": png(rgb[:1, :1], 8, 2),
        "one-pixel-interlaced": png(rgb[:1, :1], 8, 2, interlaced=True),
        "behind": png(rgb, 8, 2)[:-12] + struct.pack(">I", 3) + b"IDATabc" + struct.pack(">I", zlib.crc32(b"IDATabc")),
    }
    for orientation in range(1, 9):
        files[f"turned-{orientation}"] = png(rgba, 8, 6, chunks=((b"eXIf", exif(orientation)[6:]),))
    for interlaced in (False, True):
        end = "-interlaced" if interlaced else ""
        for depth in (1, 2, 4, 8):
            small = index >> (8 - depth)
            files[f"grey-{depth}{end}"] = png(small, depth, 0, interlaced=interlaced)
            colours = (b"PLTE", palette[: 3 << depth])
            files[f"palette-{depth}{end}"] = png(small, depth, 3, interlaced=interlaced, chunks=(colours,))
        files[f"grey-16{end}"] = png(wide[..., :1], 16, 0, interlaced=interlaced)
        files[f"rgb-16{end}"] = png(wide[..., :3], 16, 2, interlaced=interlaced)
        files[f"rgba-16{end}"] = png(wide, 16, 6, interlaced=interlaced)
    return {f"{name}.png": content for name, content in files.items()}


def small_frame(webp: bytes) -> bytes:
    """An animation of one frame, the picture of a simple WebP file, 8 columns and 4 rows inside of a larger one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def u24(*numbers: int) -> bytes:
        return b"".join(struct.pack("<I", number)[:3] for number in numbers)

    frame = u24(4, 2, WIDTH - 1, HEIGHT - 1, 100) + b"\0" + webp[12:]
    head = struct.pack("<I", 0x12) + u24(WIDTH + 20, HEIGHT + 9)  # animated, with alpha
    body = b"WEBP" + chunk(b"VP8X", head) + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", frame)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def browser_files() -> dict[str, bytes]:
    """The formats that a browser decodes."""
    image = scene()
    rgba = Image.fromarray(np.dstack([np.asarray(image), alpha()]))
    opaque = Image.fromarray(np.dstack([np.asarray(image), np.full_like(alpha(), 255)]))
    holes = image.quantize(40)
    files = {
        "420.jpg": encoded(image, "JPEG", quality=80, subsampling=2),
        "astronaut.jpg": encoded(Image.open(ROOT / "examples" / "astronaut.png").convert("RGB"), "JPEG"),
        "422.jpg": encoded(image, "JPEG", quality=80, subsampling=1),
        "444.jpg": encoded(image, "JPEG", quality=90, subsampling=0),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "grey-profile.jpg": encoded(image.convert("L"), "JPEG", icc_profile=GREY_PROFILE),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "one-pixel.jpg": encoded(image.crop((0, 0, 1, 1)), "JPEG"),
        "wide.jpg": encoded(image.resize((17_000, 30)), "JPEG"),  # wider than what is read from a canvas at a time
        "long-profile.jpg": encoded(image, "JPEG", icc_profile=SRGB + bytes(100_000)),
        "xmp.jpg": encoded(image, "JPEG", xmp=b'<a tiff:Orientation="8"/>'),
        "lossy.webp": encoded(image, "WEBP", quality=80),
        "lossy-alpha.webp": encoded(rgba, "WEBP", quality=80, exact=True),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "lossless-alpha.webp": encoded(rgba, "WEBP", lossless=True, exact=True),
        "lossless-opaque.webp": encoded(opaque, "WEBP", lossless=True, exact=True),
        "metadata.webp": encoded(rgba, "WEBP", lossless=True, exact=True, exif=exif(6), icc_profile=SRGB),
        "animated.webp": encoded(
            rgba, "WEBP", lossless=True, exact=True, save_all=True, append_images=[rgba.rotate(180)], duration=90
        ),
        "small-frame.webp": small_frame(encoded(rgba, "WEBP", lossless=True, exact=True)),
        "small-frame-opaque.webp": small_frame(encoded(image, "WEBP", quality=70)),
        "420.avif": encoded(image, "AVIF", quality=80),
        "profile.avif": encoded(image, "AVIF", quality=90, subsampling="4:4:4", icc_profile=SRGB),
        "turned.avif": encoded(image, "AVIF", exif=exif(6)),
        "alpha.avif": encoded(rgba, "AVIF", quality=80),
        "turned-alpha.avif": encoded(rgba, "AVIF", exif=exif(6), icc_profile=SRGB),
        "mirrored-alpha.avif": encoded(rgba, "AVIF", exif=exif(5)),
        "rgb.bmp": encoded(image, "BMP"),
        "opaque.gif": encoded(image.quantize(64), "GIF"),
        "holes.gif": encoded(holes, "GIF", transparency=int(np.asarray(holes)[20, 20])),
        "animated.gif": encoded(
            image.quantize(64), "GIF", save_all=True, append_images=[image.rotate(180).quantize(64)]
        ),
    }
    for orientation in range(1, 9):
        files[f"turned-{orientation}.jpg"] = encoded(
            image, "JPEG", quality=80, exif=exif(orientation), icc_profile=SRGB
        )
    return files


def damaged_files() -> dict[str, bytes]:
    """Files that a browser's decoder has to refuse, which is no more than it may do by the standards."""
    whole = browser_files()
    cut = {
        name: whole[name][: len(whole[name]) * 2 // 3] for name in ("420.jpg", "lossy.webp", "420.avif", "opaque.gif")
    }
    cut["progressive.jpg"] = whole["progressive.jpg"][:-600]
    heic = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic"
    return {f"cut-{name}": content for name, content in cut.items()} | {"photo.heic": heic}


def write(folder: Path, files: dict[str, bytes]) -> None:
    """The files, and for each NAME.rgba and in reference.json its size and profile as nss has it, or what it says."""
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, object] = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        try:
            photo = image_io.load(content, name)
        except ImageError as error:
            known[name] = {"error": str(error)}
            continue
        levels = photo.alpha if photo.alpha is not None else np.full(photo.size, 255, np.uint8)
        (folder / f"{name}.rgba").write_bytes(np.dstack([photo.rgb, levels]).tobytes())
        (folder / f"{name}.icc").write_bytes(photo.icc or b"")
        known[name] = {
            "width": photo.size[1],
            "height": photo.size[0],
            "opaque": bool((levels == 255).all()),
            "notes": list(photo.notes),
        }
    (folder / "reference.json").write_text(json.dumps(known), encoding="utf-8")
