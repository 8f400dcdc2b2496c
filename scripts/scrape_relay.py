"""Forward TCP from Docker's bridge address to the same ports on loopback. Knows bytes and ports, nothing of HTTP.

The fleet listens on 127.0.0.1 alone and containers reach the host only through the bridge: this lets Prometheus in its
container scrape local processes.

    python scripts/scrape_relay.py 172.17.0.1 8001 9101 9102
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from functools import partial

_CHUNK = 65_536


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    sink.close()


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()  # the service is not up: Prometheus sees a cut connection and says so
        return
    await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))


async def relay(address: str, ports: Sequence[int]) -> None:
    """Forward `address:port` to `127.0.0.1:port` for each port until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    servers = [await asyncio.start_server(partial(_forward, port), address, port) for port in ports]
    await stopped.wait()
    for server in servers:
        server.close()  # not waited for: a scraper keeps its connection open for minutes


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: scrape_relay.py ADDRESS PORT...")
    asyncio.run(relay(sys.argv[1], [int(port) for port in sys.argv[2:]]))
