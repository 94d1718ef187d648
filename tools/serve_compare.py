"""`nss-wgpu serve` beside `rembg s` on the same photos, the same network and the same machine.

    python tools/serve_compare.py [--photos 60] [--rounds 5] [--clients 16] [--server="OPTIONS"]

Both serve U²-Netp, the file that comes with this project, on the processor with their defaults, and give PNG cut-outs.
They take turns, a round each, so that a slow spell of the machine meets both; the other one waits idle meanwhile. Rows:

- clients: so many clients of this program, each with one request at a time, over photos that differ;
- hey: the same with one photo by the load generator `hey` (Debian's package of that name), where it is installed.

Photos a second are the median of the rounds, latencies those of all requests. Every answer must be a whole picture,
that of ours byte for byte what the library gives, that of rembg the same each time.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from engine.cores import available_cores  # noqa: E402 - found once the folder is on the path
from nss.removal.remover import Remover  # noqa: E402
from tools import serve_load  # noqa: E402
from tools.bench_rows import FailedError  # noqa: E402
from tools.processes import environment  # noqa: E402
from tools.serving.client import BrokenAnswerError  # noqa: E402
from tools.serving.latencies import HEADS, percentiles  # noqa: E402
from tools.serving.photos import Library, Photo, photos  # noqa: E402
from tools.serving.server import Memory, Server, StartError  # noqa: E402
from tools.start import machine  # noqa: E402
from tools.timing import table  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"
BOUNDARY = "----photo-7d1f0c"


@dataclass
class Contender:
    """A server that cuts out photos, and what was measured of it.

    Attributes:
        target, media_type: of a request.
        prefix, suffix: what stands around the photo in its body.
        results: what each photo must become, by its number.
    """

    name: str
    server: Server
    target: str
    headers: Mapping[str, str]
    prefix: bytes = b""
    suffix: bytes = b""
    media_type: str = ""
    results: dict[int, bytes] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    client_share: float = 0.0
    peak: int = 0

    def body(self, photo: Photo) -> bytes:
        """The body of a request."""
        return self.prefix + photo.content + self.suffix

    def type_of(self, photo: Photo) -> str:
        """The body's type."""
        return self.media_type or photo.media_type

    def row(self, how: str) -> list[str]:
        """The cells of the table."""
        rates, seconds = self.rates[how], self.seconds[how]
        spread = f"{min(rates):.2f} to {max(rates):.2f}"
        return [
            f"{self.name}, {how}",
            f"{median(rates):.2f}",
            spread,
            *percentiles(seconds),
            f"{self.peak / 2**20:.0f}",
        ]


async def drive(contender: Contender, sound: Sequence[Photo], count: int, clients: int) -> None:
    """One round of requests of this program's clients. Raises FailedError for an answer that is not right."""
    numbers = iter(range(count))
    seconds = contender.seconds.setdefault("clients", [])

    async def client() -> None:
        connection = contender.server.connection()
        for number in numbers:
            index = number % len(sound)
            photo = sound[index]
            headers = {**contender.headers, "Content-Type": contender.type_of(photo)}
            try:
                answer = await connection.request("POST", contender.target, contender.body(photo), headers)
            except BrokenAnswerError as error:
                raise FailedError(f"{contender.name}: {error}") from error
            if answer.status != 200 or not answer.body.startswith(PNG):
                raise FailedError(f"{contender.name}: {answer.status} {answer.body[:200]!r}")
            if contender.results.setdefault(index, answer.body) != answer.body:
                raise FailedError(f"{contender.name}: another picture of photo {index} than it should be")
            seconds.append(answer.seconds)
        connection.close()

    memory = Memory(contender.server)
    watch = asyncio.create_task(memory.watch())
    start, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    elapsed = time.perf_counter() - start
    watch.cancel()
    contender.client_share = max(contender.client_share, (time.process_time() - cpu) / elapsed / available_cores())
    contender.rates.setdefault("clients", []).append(count / elapsed)
    contender.peak = max([contender.peak, *memory.samples])


def hey(contender: Contender, photo: Photo, count: int, clients: int, folder: Path) -> None:
    """One round of `hey`. Raises FailedError where it is not installed, or an answer was not 200."""
    if (program := shutil.which("hey")) is None:
        raise FailedError("hey is not installed")
    (folder / "body").write_bytes(contender.body(photo))
    headers = [word for name, value in contender.headers.items() for word in ("-H", f"{name}: {value}")]
    url = f"http://{contender.server.host}:{contender.server.port}{contender.target}"
    words = ["-n", str(count), "-c", str(clients), "-m", "POST", "-t", "0", "-o", "csv", "-D", str(folder / "body")]
    start = time.perf_counter()
    command = [program, *words, "-T", contender.type_of(photo), *headers, url]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    if run.returncode or len(rows) < count - count % clients or any(row["status-code"] != "200" for row in rows):
        raise FailedError(f"hey on {contender.name}: {len(rows)} answers of {count}, {run.stderr or run.stdout[-200:]}")
    contender.seconds.setdefault("hey", []).extend(float(row["response-time"]) for row in rows)
    contender.rates.setdefault("hey", []).append(len(rows) / elapsed)


def _multipart(model: str) -> tuple[bytes, bytes]:
    """What stands before a photo and behind it in a form that has the model's name, and the photo as "file"."""
    form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n--{BOUNDARY}\r\n'
    form += 'Content-Disposition: form-data; name="file"; filename="photo"\r\nContent-Type: image/jpeg\r\n\r\n'
    return form.encode(), f"\r\n--{BOUNDARY}--\r\n".encode()


def start_rembg(work: Path) -> Contender:
    """rembg's server, with the U²-Netp of this project. Raises FailedError where it is not installed."""
    program = shutil.which("rembg", path=str(Path(sys.executable).parent)) or shutil.which("rembg")
    if program is None:
        raise FailedError("rembg is not installed: pip install 'rembg[cpu,cli]'")
    home = work / "models"
    home.mkdir()
    shutil.copy(ROOT / "nss" / "models" / "weights" / "u2netp.onnx", home / "u2netp.onnx")
    variables = environment(ROOT, work) | {"U2NET_HOME": str(home), "MODEL_CHECKSUM_DISABLED": "1"}
    variables |= {"BROWSER": "true", "GRADIO_ANALYTICS_ENABLED": "False"}  # it opens a page of itself
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "s", "--host", "127.0.0.1", "--port", str(port), "--log_level", "warning"]
    server = Server(command, work, variables, address=("127.0.0.1", port))
    prefix, suffix = _multipart("u2netp")
    form = f"multipart/form-data; boundary={BOUNDARY}"
    return Contender("rembg s", server, "/api/remove", {}, prefix, suffix, form)


def start_ours(work: Path, further: Sequence[str], sound: Sequence[Photo]) -> Contender:
    """Our server, with what it must give."""
    with Remover("u2netp", backend="numpy", quiet=True) as remover:
        library = Library(remover, sound)
        library.compute([(index, 0) for index in range(len(sound))])
    words = serve_load.command("--model", "u2netp", "--backend", "numpy", *further)
    server = Server(words, work, serve_load.variables(work))
    results = {index: library.result(index, 0) for index in range(len(sound))}
    headers = {"Authorization": f"Bearer {server.token}"}
    return Contender("nss-wgpu serve", server, "/api/v1/remove", headers, results=results)


def measure(
    contenders: Sequence[Contender], options: argparse.Namespace, sound: Sequence[Photo], work: Path
) -> Iterator[str]:
    """Run all rounds; yields why there are no figures of hey."""
    for contender in contenders:
        asyncio.run(drive(contender, sound, len(sound), 2))  # the network is opened, the memory taken
        contender.rates.clear()
        contender.seconds.clear()
    for _ in range(options.rounds):
        for contender in contenders:
            asyncio.run(drive(contender, sound, options.photos, options.clients))
    try:
        for _ in range(options.rounds):
            for contender in contenders:
                hey(contender, sound[0], options.photos, options.clients, work)
    except FailedError as error:
        yield str(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print; the exit status: 1 where there are no figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=60, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--different", type=int, default=12, help="photos that differ")
    parser.add_argument("--sides", type=int, nargs=2, default=(400, 1000), help="of photos, from and to", metavar="PX")
    parser.add_argument("--server", default="", help="further options of `nss-wgpu serve`")
    options = parser.parse_args(arguments)
    sound = photos(0, options.different, tuple(options.sides))
    contenders: list[Contender] = []
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        work = Path(folder)
        for name in ("ours", "rembg"):
            (work / name).mkdir()
        try:
            contenders.append(start_ours(work / "ours", shlex.split(options.server), sound))
            contenders.append(start_rembg(work / "rembg"))
            remarks = list(measure(contenders, options, sound, work))
        except (FailedError, StartError, ExceptionGroup) as error:
            causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
            print(f"no figures: {causes[0]}", file=sys.stderr)
            return 1
        finally:
            for contender in contenders:
                contender.server.kill()
    print(report(contenders, options))
    for remark in remarks:
        print(remark)
    return 0


def report(contenders: Sequence[Contender], options: argparse.Namespace) -> str:
    """The table."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    sides = "to".join(f" {side} " for side in options.sides).strip()
    title = (
        f"{facts}\n{options.clients} clients, {options.rounds} rounds of {options.photos} requests in turn, "
        f"photos with sides of {sides} pixels, U²-Netp"
    )
    heads = ["photos a second", "median", "rounds", *HEADS, "peak MiB"]
    rows = [contender.row(how) for how in ("clients", "hey") for contender in contenders if contender.rates.get(how)]
    shares = ", ".join(f"{contender.client_share:.1%} beside {contender.name}" for contender in contenders)
    return f"{table(title, heads, rows)}\n\nof {available_cores()} cores the clients took {shares}"


if __name__ == "__main__":
    raise SystemExit(main())
