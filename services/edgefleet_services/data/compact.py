"""`edgefleet data compact`: the small files of an archive and of the features in it made large. Loses no row."""

from __future__ import annotations

from pathlib import Path

from edgefleet.errors import Misuse
from edgefleet.store.features.offline import FeatureStore
from edgefleet.store.market.archive import MarketArchive
from edgefleet.store.market.maintenance import compact_archive
from edgefleet.store.partitions import MARKS


def compact_directory(directory: Path, least_files: int) -> int:
    """Merge the files of every partition with at least `least_files`; return how many went away.

    Raises
    ------
    Misuse
        If the directory is no archive, or a file cannot be read.
    OutOfReach
        If another process compacts it, or its file system cannot exchange two directories.
    """
    if not (directory / MARKS).is_dir():
        raise Misuse(f"{directory} is no archive: nobody has written one there")
    store = FeatureStore(directory / "features")
    merged = compact_archive(MarketArchive(directory), least_files=least_files)
    return merged + sum(store.compact(each, least_files=least_files) for each in store.sets())
