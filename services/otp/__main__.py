from pathlib import Path

from services.chassis import entrypoint
from services.otp import rebuild, roles
from services.otp.settings import OtpSettings

if __name__ == "__main__":
    entrypoint.main(
        "otp",
        OtpSettings,
        Path(__file__).parent / "migrations",
        {"server": roles.server, "relay": roles.relay},
        rebuild.rebuild,
    )
