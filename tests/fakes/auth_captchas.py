"""Outside services' captcha tokens, made as such a service makes them."""

import base64
import json
import time
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

AUDIENCE = "zasov"


def claims(**changed: Any) -> dict[str, Any]:
    """Of a token that is in order; None leaves a claim out."""
    made = {"aud": AUDIENCE, "exp": int(time.time()) + 120, "jti": str(uuid4()), **changed}
    return {name: value for name, value in made.items() if value is not None}


def token(key: Ed25519PrivateKey, header: Any = None, said: Any = None) -> str:
    """A JWT, signed. header, said: other than those of a token that is in order."""
    parts = [{"alg": "EdDSA", "typ": "JWT"} if header is None else header, claims() if said is None else said]
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{base64url(key.sign(signed.encode()))}"


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
