"""Entry point of the migration library. The connection, with its transaction, always comes from data.migrate."""

from alembic import context

from data.migrations.settings import options

context.configure(connection=context.config.attributes["connection"], **options())
with context.begin_transaction():
    context.run_migrations()
