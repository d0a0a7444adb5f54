"""Ports of this machine where nobody listens."""

import socket


def closed_port():
    """Takes a port, so that nobody listens there. Gives the socket, to be closed, and HOST:PORT."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken, f"127.0.0.1:{taken.getsockname()[1]}"
