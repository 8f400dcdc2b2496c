"""What alembic runs: the revisions over the connection it was handed. Opens no database of its own."""

from __future__ import annotations

from alembic import context

from edgefleet.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
