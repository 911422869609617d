"""Where the sidecar listens, and the token that TCP needs."""

import ipaddress
import secrets
import socket
import stat
from pathlib import Path

from merchant_adapter.json_object import Unreadable
from merchant_adapter.private_files import FileRefused, read_private, write_private

BACKLOG = 1_024
LEAST_TOKEN_CHARACTERS = 32
UNIX_MODE = 0o600


class ListenRefused(Unreadable):
    """An address that the sidecar does not listen on; the text says why."""


def token_of(path: Path) -> str:
    """The token of a file of mode 0600; a new one, where there is no such file yet. Raises FileRefused."""
    if not path.exists():
        write_private(path, (secrets.token_urlsafe(32) + "\n").encode())
    token = read_private(path).decode("ascii", "replace").strip()
    if len(token) < LEAST_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise FileRefused(
            f"{path}: no token: one line of at least {LEAST_TOKEN_CHARACTERS} ASCII characters; remove the file, and a"
            " start makes a new one"
        )
    return token


def open_tcp(address: str, *, allow_remote: bool) -> socket.socket:
    """A listening socket at `host:port`; on this machine alone, unless said otherwise."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not port.isascii() or int(port) > 65_535:
        raise ListenRefused(f"{address}: give host:port, such as 127.0.0.1:7480")
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ListenRefused(f"{address}: give the address in figures, such as 127.0.0.1") from None
    if not is_local and not allow_remote:
        raise ListenRefused(
            f"{address}: others could reach it and read along. Use 127.0.0.1 or --socket; or say --allow-remote, and"
            " put a proxy with TLS before it"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is named; else each answer waits 40 ms for an ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(opened, (host, int(port)), address)


def open_unix(path: Path) -> socket.socket:
    """A listening socket of mode 0600: who may open it, may call. One that a killed sidecar left is replaced."""
    _remove_dead(path)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Before it listens nobody can connect, so the mode is right from the first moment on.
    return _bound(opened, str(path), str(path), path)


def _bound(
    opened: socket.socket, where: tuple[str, int] | str, name: str, path: Path | None = None
) -> socket.socket:
    try:
        opened.bind(where)
        if path is not None:
            path.chmod(UNIX_MODE)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise ListenRefused(f"{name}: {error.strerror or error}") from error
    opened.setblocking(False)
    return opened


def _remove_dead(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenRefused(f"{path}: exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a sidecar that is stuck would never take the call
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
        except OSError as error:  # such as another user's, which may well be served
            raise ListenRefused(f"{path}: {error.strerror or error}") from error
    raise ListenRefused(f"{path}: another process listens there")
