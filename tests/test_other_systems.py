"""What a system does not have is not asked of it: this one, without what it has beyond Windows or macOS.

Only ``os.name`` stays, by which pathlib chooses its classes; what depends on it is tried alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nss import pipes
from nss.batch import output_names
from tests.engine.in_threads import SMALL
from tests.project import ROOT

LINUX_ALONE = ("sched_getaffinity", "sched_setaffinity", "O_PATH", "memfd_create", "posix_fallocate", "O_TMPFILE")
POSIX = (
    *("fork", "forkpty", "register_at_fork", "mkfifo", "mknod", "getuid", "geteuid", "getgid", "getpgid", "setsid"),
    *("wait3", "wait4", "WNOHANG", "uname", "sysconf", "pathconf", "fpathconf", "statvfs", "chown", "fchmod", "fchown"),
    *("O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "pread", "pwrite", "sendfile", "killpg"),
    *LINUX_ALONE,
)
SIGNALS = ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGQUIT", "pthread_kill")
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")

MISSING: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "win32": (POSIX, SIGNALS, MODULES),
    "darwin": (LINUX_ALONE, ("SIGRTMIN", "SIGRTMAX"), ()),
}
"""Of ``os``, of ``signal``, and whole modules, by ``sys.platform``."""

PROGRAM = """
import ctypes, importlib, os, pkgutil, select, signal, sys
from types import SimpleNamespace

platform, model, folder = sys.argv[1:4]
absent_from_os, absent_signals, absent_modules = MISSING[platform]


def load():
    names = []
    for package in ("engine", "nss", "shaders"):
        loaded = importlib.import_module(package)
        names += [package] + [entry.name for entry in pkgutil.walk_packages(loaded.__path__, f"{package}.")]
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return names


load()  # so that the packages that they need, and Python's own modules, find this system as it is
for name in [name for name in sys.modules if name.split(".")[0] in ("engine", "nss", "shaders")]:
    del sys.modules[name]
for name in absent_from_os:
    vars(os).pop(name, None)
for name in absent_signals:
    vars(signal).pop(name, None)
    vars(sys.modules["_signal"]).pop(name, None)
for name in absent_modules:
    sys.modules[name] = None
sys.platform = platform
if platform == "win32":
    os.supports_dir_fd = set()
    del select.poll

    def memory(status):
        status._obj.total = 8 << 30
        return 1

    ctypes.windll = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=memory))

    def is_file(path, status, folder):
        try:
            return os.path.samestat(os.stat(path, dir_fd=folder), status)
        except OSError:
            return False

    # an open file can be neither renamed, nor replaced, nor removed
    def refuse_open_files(call):
        def checked(*paths, **options):
            for number in os.listdir("/proc/self/fd"):
                try:
                    status = os.fstat(int(number))
                except OSError:
                    continue
                if any(is_file(path, status, options.get("dir_fd")) for path in paths):
                    raise PermissionError(13, "it is being used by another process")
            return call(*paths, **options)
        return checked

    os.replace, os.rename, os.unlink, os.remove = map(refuse_open_files, (os.replace, os.rename, os.unlink, os.remove))

print(len(load()))
import numpy as np
import engine, nss
from engine.memory import machine_memory
from nss import early_signals

with engine.Session(open(model, "rb").read(), backend="numpy") as session:
    session.run({"x": np.zeros((1, 3, 32, 32), np.float32)})
print(engine.available_cores() >= 1, machine_memory() > 0, len(early_signals.numbers()))
mask = np.zeros((40, 60), np.uint8)
mask[10:30, 10:30] = 255
cutout = nss.apply_mask(np.full((40, 60, 3), 99, np.uint8), mask)
for name in ("a.png", "a.webp", "a.tiff", "a.jpg"):
    for overwrite in (False, True):
        cutout.save(os.path.join(folder, name), overwrite=overwrite)
try:
    cutout.save(os.path.join(folder, "a.png"))
except nss.NssError as error:
    print(error)
print(sorted(os.listdir(folder)))
from tests.engine.compiled.models import gpu_model
cache = engine.ModelCache(os.path.join(folder, "cache"), 1 << 20)
keys = [engine.cache_key(number=number) for number in range(2)]
answers = [cache.put(keys[0], gpu_model()), cache.put(keys[1], gpu_model())]
mapped = cache.get(keys[0])
cache.clear()
answers += [cache.get(keys[0]) is None, len(os.listdir(cache.folder))]
mapped = None
print(*answers, cache.put(keys[1], gpu_model()), len(os.listdir(cache.folder)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is made to look like other systems")
@pytest.mark.parametrize("platform", MISSING)
def test_every_module_is_imported_and_files_are_written(platform: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(SMALL)
    (tmp_path / "out").mkdir()
    process = subprocess.run(
        [
            *(sys.executable, "-c", f"MISSING = {MISSING!r}\n{PROGRAM}"),
            *(platform, str(tmp_path / "model.onnx"), str(tmp_path / "out")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert process.stderr == ""
    count, machine, error_line, names, cache = process.stdout.splitlines()
    assert int(count) > 200
    assert machine == f"True True {2 if platform == 'win32' else 3}"
    assert error_line.startswith(f"{tmp_path / 'out' / 'a.png'}: exists already")
    assert names == "['a.jpg', 'a.png', 'a.tiff', 'a.webp']"
    # what is mapped is deleted later, where it must be
    assert cache == f"True True True {1 if platform == 'win32' else 0} True 1"


def test_what_only_sockets_can_be_waited_for_is_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"all of it")
    file = os.open(tmp_path / "a", os.O_RDONLY)
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        data = pipes.read_to_end(file)
    assert data == b"all of it"
    os.close(file)  # which was left open


@pytest.mark.parametrize(
    ("system", "longest"),
    [("nt", 124), ("posix", 244)],  # 100 + 2 * 10 + 4 units of UTF-16, 2 * 100 + 4 * 10 + 4 bytes
)
def test_names_are_counted_in_the_units_of_the_system(
    monkeypatch: pytest.MonkeyPatch, system: str, longest: int
) -> None:
    stem = "ü" * 100 + "😀" * 10
    with monkeypatch.context() as patch:  # pytest itself must not meet the other system
        patch.setattr(os, "name", system)
        names = [output_names.fit(stem, ".png", limit) for limit in (longest, longest - 1)]
    assert [name == f"{stem}.png" for name in names] == [True, False]


def test_a_system_without_forks_needs_no_care_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import forks

    monkeypatch.delattr(os, "register_at_fork", raising=False)
    forks.in_child(lambda: pytest.fail("there is no child"))
    with forks.ForkLock().shared():
        assert np.float32(1) == 1
