"""A guard that no test leaves loopback: what connects, sends or looks up a name checks the target first."""

import ipaddress
import socket
from contextlib import contextmanager
from functools import wraps

_LOCAL_NAMES = frozenset({None, "", "localhost", b"localhost"})


def _is_local(host):
    if host in _LOCAL_NAMES:
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]) in {
            ipaddress.ip_address("127.0.0.1"),
            ipaddress.ip_address("::1"),
        }
    except ValueError:
        return False


def _check(host, target):
    if not _is_local(host):
        raise AssertionError(f"a test tried to leave this machine: {target!r}")


def _guarded_method(method):
    @wraps(method)
    def guarded(self, *arguments):
        # The address is the last argument: connect(address), sendto(data, address), sendto(data, flags, address).
        if self.family != getattr(socket, "AF_UNIX", None):
            _check(arguments[-1][0], arguments[-1])
        return method(self, *arguments)

    return guarded


def _guarded_lookup(lookup):
    @wraps(lookup)
    def guarded(host, port, *arguments, **options):
        _check(host, (host, port))
        return lookup(host, port, *arguments, **options)

    return guarded


@contextmanager
def loopback_only():
    """While it is open, only 127.0.0.1, ::1, localhost and Unix sockets can be reached from this process."""
    with _replaced(socket, "getaddrinfo", _guarded_lookup(socket.getaddrinfo)):
        names = ("connect", "connect_ex", "sendto")
        with (
            _replaced(socket.socket, names[0], _guarded_method(socket.socket.connect)),
            _replaced(socket.socket, names[1], _guarded_method(socket.socket.connect_ex)),
            _replaced(socket.socket, names[2], _guarded_method(socket.socket.sendto)),
        ):
            yield


@contextmanager
def _replaced(owner, name, value):
    own = name in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
