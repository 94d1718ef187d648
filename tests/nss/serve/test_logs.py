"""What the packages below log: failures alone, and in one line."""

from __future__ import annotations

import asyncio
import logging

import pytest

from nss.serve import logs


def fail() -> None:
    raise ValueError("two\nlines")


def test_failures_are_one_line_and_the_rest_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    logger = logging.getLogger("uvicorn.error")
    with logs.said(said.append):
        logger.warning("Invalid HTTP request received.")
        logger.error("ASGI callable returned without completing response.")
        for _ in range(3):
            try:
                fail()
            except ValueError as error:
                logger.error("Exception in ASGI application\n", exc_info=error)
        logger.error("cancelled", exc_info=asyncio.CancelledError())
    assert said == ["unexpected in the server: Exception in ASGI application (ValueError: two lines)"]
    assert capsys.readouterr() == ("", "")
    assert not logging.getLogger("uvicorn").handlers


def test_what_fails_in_a_loop_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        loop.call_soon(fail)
        await asyncio.sleep(0.01)

    with logs.said(said.append) as handler:
        asyncio.run(main())
    (line,) = said
    assert line.startswith("unexpected in the server: Exception in callback fail()")
    assert line.endswith("(ValueError: two lines)")
    assert capsys.readouterr() == ("", "")
