"""Cut-outs to files: encoded beside the target, flushed, verified, then renamed. PNG only, so far.

At no moment does the target's name stand for half a file, and nothing is left behind by an error or an interruption.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

import numpy as np

from nss.errors import ImageError, UsageError
from nss.verify import check_png

# A 16-megapixel photo with noise takes 1.5 s and 31.8 MB at level 1, 2.1 s and 30.2 MB at 3, 8.9 s and 26.9 MB at 6.
COMPRESS_LEVEL = 1


def check_target(target: Path, *, source: Path | None, overwrite: bool) -> None:
    """Refuse a target that ``write`` would refuse, before any work is done for it.

    Raises:
        UsageError: the extension is not ``.png``, or the target is the source itself.
        ImageError: the folder is missing or not writable, or the target exists and ``overwrite`` is false.
    """
    if target.suffix.lower() != ".png":
        raise UsageError(f"{target}: only PNG can be written so far; give the output a name that ends in .png")
    if source is not None and _same_file(target, source):
        raise UsageError(f"{target}: is the input itself, which is never overwritten; give the output another name")
    try:
        is_directory, has_parent = target.is_dir(), target.parent.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, or with a NUL byte
        raise _unwritable(target, error) from error
    if is_directory:
        raise ImageError(f"{target}: is a directory; give the output another name")
    if not has_parent:
        raise ImageError(f"{target}: the directory {target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise ImageError(f"{target}: the directory {target.parent} is not writable")
    if not overwrite and os.path.lexists(target):
        raise _exists(target)


def write(
    rgba: np.ndarray,
    path: str | os.PathLike[str],
    *,
    icc: bytes | None = None,
    source: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write uint8 HxWx4 with straight alpha as PNG, with its ICC profile and without EXIF; returns the path.

    The temporary file lies in the target's directory, takes its permissions from the umask, and is renamed once it has
    been flushed to the disk and decoded again. Without ``overwrite`` the rename fails where the target has come into
    being meanwhile.

    Raises:
        UsageError, ImageError: as ``check_target``; ImageError also if the file cannot be written or verified.
    """
    target = Path(path)
    check_target(target, source=source, overwrite=overwrite)
    # independent of the target's name, which may be as long as the file system allows
    temporary = target.parent / f".nss-{secrets.token_hex(8)}.tmp"
    try:
        _encode(rgba, icc, temporary, target)
        if overwrite:
            temporary.replace(target)
        else:
            _rename_no_clobber(temporary, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def _encode(rgba: np.ndarray, icc: bytes | None, temporary: Path, target: Path) -> None:
    from PIL import Image

    with temporary.open("x+b") as file:
        Image.fromarray(rgba).save(file, "PNG", compress_level=COMPRESS_LEVEL, icc_profile=icc)
        file.flush()
        os.fsync(file.fileno())
        check_png(file, rgba, icc, str(target))


def _rename_no_clobber(temporary: Path, target: Path) -> None:
    """Give ``temporary`` the name ``target`` too, if no one has it; FileExistsError otherwise."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no hard links: take the name first, then replace it
        target.touch(exist_ok=False)
        try:
            temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except (OSError, ValueError):  # one of them does not exist, or cannot
        return False


def _exists(target: Path) -> ImageError:
    return ImageError(f"{target}: exists already; pass --overwrite to replace it")


def _unwritable(target: Path, error: OSError | ValueError) -> ImageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return ImageError(f"{target}: cannot be written: {reason}")
