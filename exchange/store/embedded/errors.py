"""The one exception of the embedded PostgreSQL."""


class EmbeddedPostgresError(Exception):
    """The server cannot be started, found or stopped; the text tells an operator why and what to do."""
