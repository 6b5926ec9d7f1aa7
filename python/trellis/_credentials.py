"""Where a coordinator is, how it is known, and how it knows who calls."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from trellis._errors import Error

StrPath = str | os.PathLike[str]


class Address(NamedTuple):
    """Where the API is."""

    host: str
    port: int
    encrypted: bool
    # What comes before /api.
    prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.encrypted else 'http'}://{host}:{self.port}{self.prefix}"


class Credentials:
    """What a client shows to a coordinator. What is not given comes from the variables that the command line reads."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        token: str | None,
        token_file: StrPath | None,
        authority: StrPath | None,
        certificate: StrPath | None,
        key: StrPath | None,
        insecure: bool | None,
    ) -> None:
        if token is not None and token_file is not None:
            raise Error("token and token_file are given: leave one of them out")
        if (token is not None or token_file is not None) and certificate is not None:
            raise Error("a token and a certificate are given: each says who you are, so leave one of them out")
        given = token is not None or token_file is not None or certificate is not None
        plain = bool(insecure)  # Said by the caller, it goes before variables for connections with encryption.
        if not given and not plain:
            token = environment.get("TRELLIS_TOKEN") or None
            if token is None:
                token_file = environment.get("TRELLIS_TOKEN_FILE") or None
            if token is None and token_file is None:
                certificate = environment.get("TRELLIS_CERTIFICATE") or None
                key = key or environment.get("TRELLIS_KEY") or None
        if insecure is None:
            insecure = environment.get("TRELLIS_INSECURE", "").lower() in ("1", "t", "true")
        self.authority = authority or (not plain and environment.get("TRELLIS_AUTHORITY")) or None
        # What has connections encrypted, by its name.
        self._secured_by = []
        if self.authority is not None:
            self._secured_by.append("authority" if authority else "TRELLIS_AUTHORITY")
        if certificate is not None:
            self._secured_by.append("certificate" if given else "TRELLIS_CERTIFICATE")
        self.certificate = certificate
        self.key = key
        if certificate is not None and key is None and os.fspath(certificate).endswith(".crt"):
            self.key = os.fspath(certificate).removesuffix(".crt") + ".key"
        self.insecure = insecure
        self._token = token
        self._token_file = token_file
        self.token()  # A wrong one is told now.

    def token(self) -> str | None:
        """Return the token. A file is read each time, so that a token can be replaced while it is used."""
        token, source = self._token, "the token"
        if self._token_file is not None:
            source = os.fspath(self._token_file)
            try:
                token = Path(self._token_file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise Error(f"can't read the token: {error}") from error
        if token is None:
            return None
        token = token.strip()
        if not token or any(not "!" <= character <= "~" for character in token):
            raise Error(f"{source} is no token: it must be one line of letters, digits and underscores")
        return token

    def tls(self) -> ssl.SSLContext:
        """Return how connections are encrypted."""
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except (OSError, ssl.SSLError) as error:
            raise Error(f"can't read the certificate of the authority, {self.authority}: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except (OSError, ssl.SSLError) as error:
                raise Error(
                    f"can't read the certificate {os.fspath(self.certificate)} and its key {self.key}: {error}"
                ) from error
        return context

    def locate(self, text: str) -> Address:
        """Read an address: http://host:port, https://host:port, or host:port.

        Without a scheme, connections to other machines are encrypted, unless insecure.
        """
        address = text.strip()
        plain = "://" not in address
        if address.startswith(":"):
            address = "127.0.0.1" + address  # As --http has it.
        try:
            parts = urlsplit("//" + address if plain else address)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Error(f"invalid address {text!r}: {error}") from error
        if not host or parts.scheme not in ("", "http", "https") or parts.query or parts.fragment or parts.username:
            raise Error(f"invalid address {text!r}: must be host:port, http://host:port or https://host:port")
        secured = self.authority is not None or self.certificate is not None
        if plain:
            encrypted = secured or not (self.insecure or is_loopback(host))
        else:
            encrypted = parts.scheme == "https"
        if not encrypted and secured:
            names = " and ".join(self._secured_by)
            raise Error(f"{text} is not encrypted, but {names} says that it is: use https://, or give insecure=True alone")
        if not encrypted and self.token() is not None and not is_loopback(host):
            raise Error(
                f"the token is not sent to {text} without encryption: whoever is on the way could use it. Use https://"
            )
        if plain and port is None:
            raise Error(f"invalid address {text!r}: the port is missing, as in {host}:8080")
        return Address(host, port or (443 if encrypted else 80), encrypted, parts.path.rstrip("/"))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
