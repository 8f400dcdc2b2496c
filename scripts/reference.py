"""Write what is generated under docs/reference. `--check` writes nothing and fails where a file differs."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

import edgefleet
from edgefleet.messages.asyncapi import document

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "asyncapi.yml"


def main() -> int:
    """Return 0 when the files are, or now are, what the code says."""
    text = yaml.safe_dump(document(edgefleet.__version__), sort_keys=False, width=120, allow_unicode=True)
    if "--check" in sys.argv:
        if TARGET.exists() and TARGET.read_text() == text:
            return 0
        sys.stderr.write(f"{TARGET.name} is not what the messages say; run python scripts/reference.py\n")
        return 1
    TARGET.write_text(text)
    sys.stderr.write(f"wrote {TARGET.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
