"""Where a server listens."""

from __future__ import annotations

import socket

from atlas.errors import SettingsError


def bound(host: str, port: int) -> socket.socket:
    """A socket at the address. Raises `SettingsError` where it cannot be had."""
    if not 0 <= port <= 65_535:
        raise SettingsError(f"--port {port}: expected 0 to 65535; 0 takes any that is free")
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError) as error:
        if found is not None:
            found.close()
        raise SettingsError(f"--host {host} --port {port}: cannot be bound ({error}); give another") from None
    return found
