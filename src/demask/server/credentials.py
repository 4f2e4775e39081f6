"""Content Credentials: a signed C2PA manifest in every image (C2PA specification 2.1).

The library is c2pa-python of the Content Authenticity Initiative. A manifest does not survive a
screenshot; an invisible watermark would, but the available libraries need networks of 100 MB and
change pixels, so that the same seed would no longer give the same image.

`c2pa` and `cryptography` are imported only here, when a signer is made.
"""

from __future__ import annotations

import datetime
import io
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demask import __version__
from demask.generator import GeneratedImage

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PRODUCER = "Demask"


@dataclass(frozen=True)
class Signing:
    """The certificates and the key that sign a manifest.

    Attributes:
        chain: the certificates in PEM, the signer's first.
        key: the signer's private key in PEM.
        algorithm: the C2PA name of the signature algorithm, such as ``es256``.
    """

    chain: bytes
    key: bytes
    algorithm: str = "es256"

    @classmethod
    def read(cls, chain: Path, key: Path) -> Signing:
        """Read the certificates and the key of an operator.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file holds no certificate or no key that C2PA supports, or the key does
                not belong to the certificate.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        pem, certificates = key.read_bytes(), chain.read_bytes()
        try:
            loaded = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{key}: no private key in PEM without a password") from error
        if isinstance(loaded, ec.EllipticCurvePrivateKey):
            algorithm = {256: "es256", 384: "es384", 521: "es512"}.get(loaded.curve.key_size)
        elif isinstance(loaded, ed25519.Ed25519PrivateKey):
            algorithm = "ed25519"
        else:
            algorithm = "ps256" if isinstance(loaded, rsa.RSAPrivateKey) else None
        if algorithm is None:
            raise ValueError(f"{key}: C2PA signs with P-256, P-384, P-521, Ed25519 or RSA keys")
        try:
            signer = x509.load_pem_x509_certificates(certificates)[0]
        except ValueError as error:
            raise ValueError(f"{chain}: no certificate in PEM") from error
        if signer.public_key() != loaded.public_key():
            raise ValueError(f"{key} is not the key of the first certificate in {chain}")
        return cls(certificates, pem, algorithm)

    @classmethod
    def make(cls) -> Signing:
        """Make a key for this process: changes are detected, but the signer is unknown."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root_name, name = (_name(text) for text in ("Demask local root", "Demask local signer"))
        root = _certificate(root_name, root_name, root_key, authority=True)
        signer = _certificate(name, root_name, key, authority=False, root_key=root_key)
        signed = [part.sign(root_key, hashes.SHA256()) for part in (signer, root)]
        chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in signed)
        assert isinstance(signed[0], x509.Certificate)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cls(chain, private)


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, PRODUCER),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def _certificate(name: Any, issuer: Any, key: Any, *, authority: bool, root_key: Any = None) -> Any:
    """An unsigned certificate with the profile that C2PA requires (section 14.5)."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    public = (root_key or key).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    if authority:
        return builder
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return builder.add_extension(purpose, critical=False)


class Credentials:
    """Signs images.

    Raises:
        ValueError: C2PA does not accept the certificate and the key.
    """

    def __init__(self, keys: Signing) -> None:
        import c2pa

        self._c2pa, self._lock = c2pa, threading.Lock()
        # a thumbnail would be larger than most images; verifying each signature costs time
        plain = {
            "builder": {"thumbnail": {"enabled": False}},
            "verify": {"verify_after_sign": False},
        }
        self._context = c2pa.Context.from_dict(plain)
        self._info = c2pa.C2paSignerInfo(keys.algorithm.encode(), keys.chain, keys.key, None)
        try:
            self._signer = c2pa.Signer.from_info(self._info)
            self._check()
        except c2pa.C2paError as error:
            raise ValueError(f"C2PA does not take this certificate and key: {error}") from None

    def _check(self) -> None:
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, "PNG")
        self.sign(buffer.getvalue(), manifest("a test", {}))

    def sign(self, data: bytes, claims: dict[str, Any], kind: str = "png") -> bytes:
        """The same file of a ``png``, ``jpeg`` or ``webp`` with a signed manifest."""
        signed = io.BytesIO()
        with self._lock, self._c2pa.Builder(json.dumps(claims), self._context) as builder:
            builder.sign(self._signer, f"image/{kind}", io.BytesIO(data), signed)
        return signed.getvalue()


def manifest(title: str, facts: dict[str, Any], kind: str = "png") -> dict[str, Any]:
    """The claims that a model made an image, and with which settings."""
    agent = {"name": PRODUCER, "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": f"image/{kind}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": "org.demask.settings", "data": facts},
        ],
    }


def facts_of(image: GeneratedImage) -> dict[str, Any]:
    """Everything that is needed to generate an image again."""
    return {
        "model": image.model,
        "prompt": image.prompt,
        "seed": image.seed,
        "settings": asdict(image.settings),
    }
