"""The streams and their messages as an AsyncAPI 3.0 document, made from the types themselves."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from edgefleet.messages.codec import MESSAGE_TYPES
from edgefleet.messages.streams import STREAMS

_REF = "#/components/schemas/{name}"


def document(version: str) -> dict[str, Any]:
    """Return the AsyncAPI document as plain values."""
    found = msgspec.json.schema_components(MESSAGE_TYPES.values(), ref_template=_REF)[1]
    schemas = msgspec.json.decode(msgspec.json.encode(found))  # a default that is a tuple reads back as a list
    names = {kind: tag for tag, kind in MESSAGE_TYPES.items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "edgefleet streams",
            "version": version,
            "description": "An entry has two fields: `type`, the tag, and `data`, the JSON of the message.",
        },
        "channels": {
            card.name: {
                "address": card.name,
                "description": f"Written by {', '.join(card.written_by)}; read by {', '.join(card.read_by)}.",
                "messages": {names[kind]: {"$ref": f"#/components/messages/{names[kind]}"} for kind in card.messages},
            }
            for card in STREAMS
        },
        "components": {
            "messages": {
                tag: {
                    "name": tag,
                    "title": kind.__name__,
                    "summary": " ".join((inspect.getdoc(kind) or "").split()),
                    "payload": {"$ref": _REF.format(name=kind.__name__)},
                }
                for tag, kind in sorted(MESSAGE_TYPES.items())
            },
            "schemas": {name: _dedented(schema) for name, schema in sorted(schemas.items())},
        },
    }


def _dedented(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose description reads the same on every Python: from 3.13 on docstrings come dedented."""
    return schema | {"description": inspect.cleandoc(schema["description"])} if "description" in schema else schema
