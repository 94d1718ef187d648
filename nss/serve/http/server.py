"""The server: its sockets, its signals, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from nss import early_signals
from nss.errors import one_line
from nss.files import output_file
from nss.interfaces.interface import Description
from nss.serve.http import logs, own_folder, sockets
from nss.serve.http.addresses import ANYWHERE
from nss.serve.http.application import Application
from nss.serve.http.browser import BrowserModels
from nss.serve.http.guard import HEAD_BYTES
from nss.serve.http.page import Page
from nss.serve.http.protocol import TimedProtocol, most_connections, timed_protocol
from nss.stop_signals import raise_stop

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from nss.serve.jobs.service import Service
    from nss.serve.settings import ServeSettings
    from nss.serve.watch.watcher import Watcher

Say = Callable[[str], None]

KEEP_ALIVE_S = 75
"""How long a connection may be idle: longer than proxies keep theirs, which would send into one that just closes."""

LAST_LOOK_S = 1.0
"""Who waited for the last photo may ask for it within this time after it is done."""

TICK_S = 0.02


def run(
    settings: ServeSettings,
    say: Say,
    *,
    ready: Callable[[str], None] = lambda _: None,
    progress_of: Callable[[int], AbstractContextManager[Any]] | None = None,
) -> int:
    """Serve until a signal; returns the exit status.

    Blocks, and is meant for the main thread, where signals come. The first one lets photos in work come to their end,
    which is status 0; a second one ends the process at once, with the status that shells report for it.

    Args:
        settings: what to serve.
        say: gets lines for whoever runs the server, from any thread.
        ready: gets the URL of the page, once it can be opened.
        progress_of: gets the number of models before they are opened, and gives what `nss.cli.progress` does.

    Raises:
        UsageError: the port is taken, or the watched folders cannot be used.
        ModelUnavailableError, GpuUnavailableError, NssError: a model cannot be opened.
    """
    from nss.serve.jobs.service import Service

    if settings.watch is not None:
        from nss.serve.watch.settings import check

        check(settings.watch)
    with ExitStack() as stack:
        listening = sockets.listen(settings.host, settings.port)
        for each in listening:
            stack.callback(each.close)
        _say_who_can_reach(settings, say)
        own_folder.remove_leftovers()
        page = Page.read()
        service = Service(settings, say)
        stack.callback(service.close)
        with nullcontext() if progress_of is None else progress_of(len(settings.models)) as progress:
            if progress is not None:
                progress.update(0, settings.models[0].requested)
            service.open()
        browser = BrowserModels(settings.models, lambda: service.models.names, say)
        stack.callback(browser.close)
        port = sockets.port_of(listening)
        application = Application(service, settings, port=port, say=say, page=page, browser=browser)
        url = settings.url_at(port)

        def is_listening() -> None:
            ready(url)
            if settings.open_browser:
                threading.Thread(target=_open_browser, args=(url, say), daemon=True).start()

        server = Server(service, application, settings.limits.stall_seconds, say, is_listening)
        if settings.watch is not None:
            server.watcher = _watcher(settings, service, say)
        server.serve_until_signal(listening, at_once=browser.close)
    return 0


class Server(uvicorn.Server):
    """uvicorn's server, which does not end before its service has.

    Attributes:
        watcher: what is to be started and stopped with it.
    """

    def __init__(
        self,
        service: Service,
        application: Application,
        stall_seconds: float,
        say: Say,
        is_listening: Callable[[], None] = lambda: None,
    ) -> None:
        """Make one; ``stall_seconds`` is that of the limits, and ``is_listening`` is called once it is."""
        config = uvicorn.Config(
            application,
            http=timed_protocol(stall_seconds, most_connections()),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=sockets.BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        super().__init__(config)
        self.watcher: Watcher | None = None
        self._service, self._application, self._say = service, application, say
        self._stall_seconds, self._is_listening = stall_seconds, is_listening
        self._finishing: asyncio.Task[None] | None = None

    def serve_until_signal(self, listening: list[socket.socket], at_once: Callable[[], None]) -> None:
        """Serve on sockets until a signal; ``at_once``: what is to be done before a second one ends the process."""
        with logs.said(self._say) as say_failure, asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(say_failure)
            with _signals(lambda: loop.call_soon_threadsafe(self.finish), at_once, self._say):
                runner.run(self.serve(listening))
                runner.close()  # which waits for threads, and may be interrupted, too

    def finish(self) -> None:
        """Begin to end: nothing new is taken, what runs comes to its end. On the loop."""
        if self._finishing is None:
            self._finishing = asyncio.ensure_future(self._finish())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are not uvicorn's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await self._service.start()
        if self.watcher is not None:
            self.watcher.start()
        await super().startup(sockets)
        self._is_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that there are once their answers are out."""
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        self._application.streams.end()
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for connection in list(connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stall_seconds
        while (tasks or connections) and loop.time() < end:
            await asyncio.sleep(TICK_S)
        for task in list(tasks):
            task.cancel()
        for connection in list(connections):
            if isinstance(connection, TimedProtocol):
                connection.transport.abort()
        await asyncio.sleep(0)

    async def _finish(self) -> None:
        running = self._service.running
        if running:
            self._say(f"finishing {running} photo{'s'[: running != 1]}; press Ctrl-C again to stop at once")
        try:
            if self.watcher is not None:
                await asyncio.to_thread(self.watcher.stop)
            await self._service.stop()
            if running:
                # whoever has heard of the end of a job comes for its result
                await asyncio.sleep(LAST_LOOK_S)
        except Exception as error:
            self._say(f"unexpected {type(error).__name__} while stopping: {one_line(error)} (please report it)")
        finally:
            self.should_exit = True


@contextmanager
def _signals(first: Callable[[], object], at_once: Callable[[], None], say: Say) -> Iterator[None]:
    """Within the block the first signal calls ``first``, and the next one ends the process; in the main thread.

    Signals that the process ignores, or that others handle, stay theirs.
    """
    is_stopping = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal is_stopping
        if not is_stopping:
            is_stopping = True
            with suppress(RuntimeError):  # the loop has ended already
                first()
            return
        try:
            output_file.abandon()
            at_once()
            # where the thread is in the middle of a line, another cannot be begun
            with suppress(RuntimeError):
                say(early_signals.word(number))
        finally:
            os._exit(128 + number)

    ours = (signal.SIG_DFL, signal.default_int_handler, early_signals.end_at_once, raise_stop)
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python handles signals in no other
        handlers = {number: signal.getsignal(number) for number in early_signals.numbers()}
        before = {number: handler for number, handler in handlers.items() if handler in ours}
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_who_can_reach(settings: ServeSettings, say: Say) -> None:
    if not settings.allow_remote:
        return
    say(
        "'allow_remote': anyone who reaches this address and has the token can use this computer's GPU and memory; "
        "without https the token and the photos can be read on the way"
    )
    if settings.host in ANYWHERE and not settings.public_urls:
        say("others reach it by no name yet: name the addresses that they use by 'public_urls'")


def _watcher(settings: ServeSettings, service: Service, say: Say) -> Watcher:
    from nss.serve.watch.watcher import Watcher

    assert settings.watch is not None
    return Watcher(settings.watch, lambda task: service.models.put(None, Description(), task), say)


def _open_browser(url: str, say: Say) -> None:
    try:
        is_open = webbrowser.open(url)
    except (webbrowser.Error, OSError):
        is_open = False
    if not is_open:
        say("there is no browser to open: open the printed address in one")
