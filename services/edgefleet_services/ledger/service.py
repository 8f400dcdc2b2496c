"""The ledger's process: the books, the archive, and the trimming that both allow. No arithmetic."""

from __future__ import annotations

import asyncio
import os
import threading

from edgefleet.bus.redis_bus import TRIM_CHUNK
from edgefleet.errors import FleetError, OutOfReach, Transient
from edgefleet.store.archive import Archive, is_archived
from edgefleet.store.archiver import Archiver
from edgefleet.store.books import Bookkeeper
from edgefleet.store.db import LedgerDatabase, database_url
from edgefleet.store.live import LiveStreams
from edgefleet_services.bootstrap import ServiceContext, service_context
from edgefleet_services.ledger.loop import BooksLoop
from edgefleet_services.options import ServiceOptions

DATABASE_VARIABLE = "EDGEFLEET_DATABASE_URL"
ARCHIVE_PAUSE_S = 1.0  # the most that `why` waits for its index; the archive itself waits for nobody
TRIM_EVERY_S = 2.0
ALIVE_WITHIN_MS = 15_000


async def serve(options: ServiceOptions) -> None:
    """Keep the books and the archive until told to stop, then until nothing is left to write down."""
    options.data_dir.mkdir(parents=True, exist_ok=True)
    database = LedgerDatabase(database_url(options.data_dir, os.environ.get(DATABASE_VARIABLE))).open()
    try:
        async with service_context("ledger", options, staged=True) as context:
            await _run(context, database)
    finally:
        database.close()


async def _run(context: ServiceContext, database: LedgerDatabase) -> None:
    books = BooksLoop(context.bus, Bookkeeper(database), context.configs, context.clock, context.log)
    books.on_pass = lambda: context.health.beat("books", within_ms=ALIVE_WITHIN_MS)
    archiver = ArchiverThread(context, database)
    trimming = asyncio.create_task(_trim(context))
    archiver.start()
    try:
        await books.run(context.stop)
    finally:
        trimming.cancel()
        # Last, so that what the books' last commit wrote is archived too.
        await asyncio.to_thread(archiver.finish)


class ArchiverThread(threading.Thread):
    """Turns the archiver until it is told to finish. A Redis that is away is waited for."""

    def __init__(self, context: ServiceContext, database: LedgerDatabase) -> None:
        super().__init__(name="archiver", daemon=True)
        self._context = context
        self._database = database
        self._ending = threading.Event()

    def run(self) -> None:
        source = LiveStreams(self._context.options.redis_url)
        archiver = self._fresh(source)
        while not self._ending.is_set():
            more = False
            try:
                more = self._turn(archiver)
            except (FleetError, OSError) as error:
                self._context.log.warning("archive_waits", error=str(error))
                archiver.abandon()
                archiver = self._fresh(source)  # its memory may be ahead of its files: read again from the files
            if not more:
                self._ending.wait(ARCHIVE_PAUSE_S)
        try:
            archiver.close()
        except (FleetError, OSError) as error:
            self._context.log.warning("archive_unfinished", error=str(error))
            archiver.abandon()
        source.close()

    def _turn(self, archiver: Archiver) -> bool:
        more = archiver.turn()
        self._context.metrics.archive_lag.set(archiver.behind_s)
        self._context.health.beat("archive", within_ms=ALIVE_WITHIN_MS)
        return more

    def finish(self) -> None:
        """Archive what is left and wait for it."""
        self._ending.set()
        self.join()

    def _fresh(self, source: LiveStreams) -> Archiver:
        archive = Archive(self._context.options.data_dir)
        return Archiver(source, archive, self._database, self._context.clock)


async def _trim(context: ServiceContext) -> None:
    while True:
        await asyncio.sleep(TRIM_EVERY_S)
        try:
            for stream in await context.bus.archive_marks():
                if is_archived(stream):
                    await _trim_stream(context, stream)
        except (Transient, OutOfReach) as error:
            context.log.warning("trim_waits", error=str(error))


async def _trim_stream(context: ServiceContext, stream: str) -> None:
    retain = context.configs.current.fleet.retain_entries
    removed = TRIM_CHUNK
    while removed >= TRIM_CHUNK:  # fewer: the rest must stay
        removed = await context.bus.trim(stream, retain=retain)
