"""Finds out soon whether a server can be reached: the clients of W&B, Ray and the hub would retry for minutes."""

import socket
import urllib.request
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 5.0


def check_url(url: str) -> None:
    """Connects once to the server of a URL; not where a proxy is set, which may reach what this machine cannot.

    Raises:
        OSError: The server cannot be reached.
    """
    if urllib.request.getproxies():
        return
    parts = urlsplit(url)
    check_port(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def check_port(host: str, port: int) -> None:
    """Connects once.

    Raises:
        OSError: Nothing listens there, or nothing answers in time.
    """
    socket.create_connection((host, port), timeout=TIMEOUT_SECONDS).close()
