"""What the house rules read: the repository's files and what their syntax trees call. Knows no rule."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "libs" / "edgefleet"
SERVICES = ROOT / "services" / "edgefleet_services"
OUTSIDE = {".git", ".venv", "node_modules", "__pycache__", "var", "data", "htmlcov", "dist", "build", "reports"}
BINARY = {".png", ".gz", ".parquet", ".ico", ".woff2", ".onnx", ".pdf", ".zst", ".sqlite"}


def python_files(*folders: Path) -> list[Path]:
    """Return every Python file under the folders, sorted."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


@cache
def repository_files() -> tuple[Path, ...]:
    """Return every text file that git tracks or would track; without git, every file outside the ignored folders."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode == 0:
        candidates = [ROOT / line for line in listing.stdout.splitlines()]
    else:
        candidates = [path for path in ROOT.rglob("*") if not OUTSIDE & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in candidates if path.is_file() and path.suffix not in BINARY))


def name_of(path: Path) -> str:
    """Return the path below the repository's root, for test ids and messages."""
    return path.relative_to(ROOT).as_posix()


def dotted(node: ast.expr) -> str | None:
    """Return ``a.b.c`` for a chain of attributes on a name, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for: ``from time import time_ns as t`` gives ``{"t": "time.time_ns"}``."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _resolved(name: str, aliases: dict[str, str]) -> str:
    """Return the name as imported; a chain on something that was not imported is marked as local, whatever its name."""
    head, dot, rest = name.partition(".")
    return aliases.get(head, f"<local>.{head}" if dot else head) + dot + rest


def references(source: str) -> set[str]:
    """Return every dotted name the source uses, imports resolved. Passing a function on counts as using it.

    After ``from datetime import datetime as dt`` the name ``dt.now`` is ``datetime.datetime.now``.
    """
    tree = ast.parse(source)
    aliases = _aliases(tree)
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := dotted(node)) is not None:
            used.add(_resolved(name, aliases))
    return used


def calls(source: str) -> Iterator[tuple[int, str, ast.Call]]:
    """Yield line, resolved dotted name and node of every call."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)) is not None:
            yield node.lineno, _resolved(name, aliases), node
