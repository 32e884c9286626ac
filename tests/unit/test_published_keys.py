"""Keys that PayPal and Plaid publish, fetched from a real HTTPS server in their place."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

import providers.paypal
import providers.plaid
from migration.signing import Signed, _pem, new_settings, sign
from providers.base import Delivery
from providers.errors import KeysUnavailableError, NotAuthenticError
from providers.fetched import Fetched

NOW = datetime.now(UTC).replace(microsecond=0)
PEM = serialization.Encoding.PEM


class Authority:
    """A certification authority of our own."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test Root")])
        self.root = self._signed(
            self.name, self.key, [(x509.BasicConstraints(ca=True, path_length=None), True)], ca=True
        )

    def issue(self, name: str, *, days: int = 30) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ]
        return key, self._signed(subject, key, extensions, days=days)

    def _signed(
        self, subject: x509.Name, key: rsa.RSAPrivateKey, extensions: list[tuple[x509.ExtensionType, bool]],
        *, days: int = 365, ca: bool = False,
    ) -> x509.Certificate:  # fmt: skip
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=10))
            .not_valid_after(NOW + timedelta(days=days))
        )  # fmt: skip
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        if ca:
            usage = dict.fromkeys(("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                                   "key_agreement", "encipher_only", "decipher_only"), False)  # fmt: skip
            builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
            builder = builder.add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        return builder.sign(self.key, SHA256())


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(PEM).decode()


@dataclass
class Publisher:
    """An HTTPS server that answers with what it is told to."""

    address: str = ""
    status: int = 200
    content: bytes = b""
    asked: list[bytes] = field(default_factory=list)


AUTHORITY = Authority()


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    key, certificate = AUTHORITY.issue("localhost")
    (tmp_path / "server.pem").write_text(_pem(key) + pem(certificate))
    (tmp_path / "root.pem").write_text(pem(AUTHORITY.root))
    # The server's certificate is checked as any is: the machine's trusted roots are this one.
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    told = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(told.content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    told.address = f"localhost:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(providers.paypal, "_certificates", Fetched())
    monkeypatch.setattr(providers.plaid, "_published", Fetched())
    yield told
    server.shutdown()
    server.server_close()


class TestPayPal:
    """A certificate that is not listed is fetched from an allowed host, and its chain must lead to a pinned root."""

    def delivery(
        self, publisher: Publisher, certificate: x509.Certificate, key: rsa.RSAPrivateKey
    ) -> tuple[Signed, dict[str, Any]]:
        own = new_settings("paypal")
        own["keys"][0] = {"id": "CERT-1", "secret": "-", "private_key": _pem(key)}
        signed = sign("paypal", b'{"id": "WH-1", "event_type": "X"}', own, NOW)
        signed.headers["paypal-cert-url"] = f"https://{publisher.address}/v1/notifications/certs/CERT-1"
        publisher.content = pem(certificate).encode()
        return signed, {
            "webhook_id": own["webhook_id"], "cert_hosts": [publisher.address], "roots": [pem(AUTHORITY.root)],
        }  # fmt: skip

    def verify(self, signed: Signed, settings: dict[str, Any], at: datetime = NOW) -> Any:
        return providers.paypal.verify(Delivery(signed.headers, signed.body, at), settings)

    def test_a_chain_to_the_pinned_root_is_taken_and_fetched_once(self, publisher: Publisher) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        assert self.verify(signed, settings) == ("paypal-rsa-sha256", "CERT-1")
        assert self.verify(signed, settings) == ("paypal-rsa-sha256", "CERT-1")
        assert len(publisher.asked) == 1

    def test_a_certificate_of_another_name_is_refused(self, publisher: Publisher) -> None:
        key, certificate = AUTHORITY.issue("evilpaypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        with pytest.raises(NotAuthenticError, match="pinned root"):
            self.verify(signed, settings)

    def test_a_chain_to_another_root_is_refused(self, publisher: Publisher) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        with pytest.raises(NotAuthenticError, match="pinned root"):
            self.verify(signed, {**settings, "roots": [pem(Authority().root)]})

    def test_a_root_that_the_machine_trusts_is_not_enough(self, publisher: Publisher) -> None:
        """Without listed roots only DigiCert's count, whatever else the machine trusts."""
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        with pytest.raises(NotAuthenticError, match="pinned root"):
            self.verify(signed, {name: value for name, value in settings.items() if name != "roots"})

    def test_an_expired_certificate_is_refused(self, publisher: Publisher) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com", days=5)
        signed, settings = self.delivery(publisher, certificate, key)
        with pytest.raises(NotAuthenticError):
            self.verify(signed, settings, NOW + timedelta(days=6))

    @pytest.mark.parametrize(
        "url",
        ["https://evil.example/CERT-1", "http://{0}/CERT-1", "https://{0}@evil.example/CERT-1", "https://{0}/x?y",
         "file:///etc/passwd", "https://{0}.evil.example/CERT-1", "//{0}/CERT-1", "https://[", "CERT-1"],
    )  # fmt: skip
    def test_an_address_that_is_not_paypals_is_never_asked(self, publisher: Publisher, url: str) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        signed.headers["paypal-cert-url"] = url.format(publisher.address)
        with pytest.raises(NotAuthenticError):
            self.verify(signed, settings)
        assert publisher.asked == []

    def test_an_outage_is_not_the_senders_fault_and_is_not_asked_about_again_at_once(
        self, publisher: Publisher
    ) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        publisher.status = 503
        for _ in range(3):
            with pytest.raises(KeysUnavailableError):
                self.verify(signed, settings)
        assert len(publisher.asked) == 1

    def test_what_is_no_certificate_is_not_the_senders_fault(self, publisher: Publisher) -> None:
        key, certificate = AUTHORITY.issue("messageverificationcerts.paypal.com")
        signed, settings = self.delivery(publisher, certificate, key)
        publisher.content = b"maintenance"
        with pytest.raises(KeysUnavailableError):
            self.verify(signed, settings)


class TestPlaid:
    def delivery(self, publisher: Publisher) -> tuple[Signed, dict[str, Any]]:
        own = new_settings("plaid")
        jwk = json.loads(own["keys"][0]["secret"])
        publisher.content = json.dumps({"key": {**jwk, "expired_at": None}, "request_id": "r"}).encode()
        signed = sign("plaid", b'{"webhook_type": "A", "webhook_code": "B"}', own, NOW)
        return signed, {"client_id": "c", "secret": "s", "host": publisher.address}

    def verify(self, signed: Signed, settings: dict[str, Any]) -> Any:
        return providers.plaid.verify(Delivery(signed.headers, signed.body, NOW), settings)

    def test_a_key_is_asked_for_once(self, publisher: Publisher) -> None:
        signed, settings = self.delivery(publisher)
        for _ in range(3):
            assert self.verify(signed, settings).scheme == "plaid-es256"
        assert [set(json.loads(asked)) for asked in publisher.asked] == [{"client_id", "secret", "key_id"}]

    def test_a_key_that_plaid_does_not_know_is_refused(self, publisher: Publisher) -> None:
        signed, settings = self.delivery(publisher)
        publisher.status = 400
        with pytest.raises(NotAuthenticError):
            self.verify(signed, settings)

    def test_an_expired_key_is_refused(self, publisher: Publisher) -> None:
        signed, settings = self.delivery(publisher)
        told = json.loads(publisher.content)
        told["key"]["expired_at"] = 1
        publisher.content = json.dumps(told).encode()
        with pytest.raises(NotAuthenticError, match="expired"):
            self.verify(signed, settings)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"key": 1}'])
    def test_an_answer_that_is_none_is_not_the_senders_fault(self, publisher: Publisher, content: bytes) -> None:
        signed, settings = self.delivery(publisher)
        publisher.content = content
        with pytest.raises(KeysUnavailableError):
            self.verify(signed, settings)

    def test_without_credentials_nobody_is_asked(self, publisher: Publisher) -> None:
        signed, _ = self.delivery(publisher)
        with pytest.raises(NotAuthenticError, match="no credentials"):
            self.verify(signed, {"host": publisher.address})
        assert publisher.asked == []
