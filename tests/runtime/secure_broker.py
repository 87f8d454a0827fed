"""A mosquitto that asks for a password and speaks TLS, with a certificate authority of its own, for tests."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from patience import PATIENCE_S

from hil.broker import find_mosquitto, free_port

USER, PASSWORD = "nisse", "the-secret-of-the-broker"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False
        )
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_certificates(folder: Path) -> None:
    """ca.pem with server.pem and server.key signed by it, and other-ca.pem that signed nothing."""
    authority, server, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    (folder / "ca.pem").write_bytes(_certificate("test authority", authority, "test authority", authority, ca=True))
    (folder / "other-ca.pem").write_bytes(_certificate("another", other, "another", other, ca=True))
    (folder / "server.pem").write_bytes(_certificate("broker", server, "test authority", authority, ca=False))
    (folder / "server.key").write_bytes(
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@contextmanager
def secure_broker(folder: Path) -> Iterator[int]:
    """The port of a broker that wants TLS, USER and PASSWORD; certificates and log are in `folder`."""
    program = find_mosquitto()
    assert program is not None, "these tests need mosquitto"
    write_certificates(folder)
    port = free_port()
    passwords = folder / "passwords"
    passwords.write_text(f"{USER}:{PASSWORD}\n")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\npersistence false\nuser root\n"
        f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n"
    )
    with (folder / "secure-broker.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(configuration)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while b"running" not in (folder / "secure-broker.log").read_bytes() and time.monotonic() < deadline:
            assert process.poll() is None, (folder / "secure-broker.log").read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
