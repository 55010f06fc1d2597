"""What counts as an email address, for every service alike."""

from email_validator import EmailNotValidError, validate_email


class NotAnAddress(ValueError):
    """No address, or none that mail can be sent to. It quotes nothing: what was meant as an address is somebody's."""


def email_address(text: str) -> str:
    """The address in ASCII as SMTP carries it, at most 254 characters: an international domain becomes its A-label (RFC 5891).

    Raises NotAnAddress for anything else: controls (a line break would begin another header or command), quotes, comments, a
    display name, a number for a domain, and a local part beyond ASCII, which few servers take (RFC 6531).
    """
    try:
        found = validate_email(text, allow_smtputf8=False, check_deliverability=False, strict=True)
    except EmailNotValidError:
        raise NotAnAddress from None
    assert found.ascii_email is not None  # the local part is ASCII
    return found.ascii_email
