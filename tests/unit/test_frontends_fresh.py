"""A front-end's catalogue is read anew before a request that could miss another process's change."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from app.frontends.board import Board
from app.frontends.fresh import Fresh
from models.errors import Unavailable


class Front:
    """A board of two processes, of which this one's registry reads what the other has told."""

    def __init__(self) -> None:
        self.engine = Board.make(2)
        self.board = Board.of(self.engine.fd, 2, own=1)
        self.registry: Any = SimpleNamespace(change=0, refresh=self.refresh)
        self.away = False
        self.reads = 0
        self.seen: list[int] = []
        line: Any = SimpleNamespace(start=lambda: None, close=lambda: asyncio.sleep(0))
        self.app = Fresh(self._answer, self.registry, line, self.board)

    def refresh(self) -> None:
        self.reads += 1
        if self.away:
            raise Unavailable("The database is away.", code="database")
        self.registry.change = self.engine.newest()

    async def _answer(self, *_: Any) -> None:
        self.seen.append(self.registry.change)

    async def request(self) -> None:
        unused: Any = None
        await self.app({"type": "http"}, unused, unused)


def test_a_change_told_by_another_process_is_read_once_before_the_next_requests() -> None:
    async def main() -> None:
        front = Front()
        await front.request()
        front.engine.tell(4)
        await asyncio.gather(*(front.request() for _ in range(5)))
        await front.request()
        assert (front.seen, front.reads) == ([0, *[4] * 6], 1)

    asyncio.run(main())


def test_while_the_database_is_away_requests_go_on_and_do_not_all_ask_it() -> None:
    async def main() -> None:
        front = Front()
        front.engine.tell(4)
        front.away = True
        await asyncio.gather(*(front.request() for _ in range(5)))
        assert (front.seen, front.reads) == ([0] * 5, 1)

    asyncio.run(main())
