"""Email over SMTP: how a message is written down, and connections to the mail server."""
