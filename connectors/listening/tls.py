"""TLS of listeners and of senders."""

from __future__ import annotations

import ssl


def tls_context(cert: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """TLS for a listener; with ``client_ca`` every sender must show a certificate that it signed.

    Raises:
        ssl.SSLError, OSError: the files are not what they should be; a key that is encrypted is one of these.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key, password=lambda: "")  # else OpenSSL asks on the terminal, and waits
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(ca: str | None, cert: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """TLS for a sender: whose certificates it trusts, and its own for mutual TLS."""
    context = ssl.create_default_context(cafile=ca)
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context
