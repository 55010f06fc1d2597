"""Settings that every service has, and how they are listed. Each comes from an environment variable."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table


class ChassisSettings(BaseSettings):
    """What every role of every service reads. A subclass sets `env_prefix` and adds its own."""

    postgres_url: str = Field(description="PostgreSQL URL of the service's own database; a direct one for migrate and relay.")
    postgres_pool_size: int = Field(default=10, ge=1, description="Connections a process may hold.")
    postgres_command_timeout_s: float = Field(default=5.0, gt=0, description="A statement that takes longer is given up.")
    kafka_bootstrap: str = Field(default="127.0.0.1:9092", description="Kafka's bootstrap servers, comma-separated.")
    topic_prefix: str = Field(default="", description="Put before every topic and consumer group; several stacks, one Kafka.")
    listen: str = Field(default="127.0.0.1:0", description="host:port of the gRPC server.")
    health_listen: str = Field(default="127.0.0.1:0", description="host:port of plaintext gRPC health, alone (for probes).")
    metrics_listen: str = Field(default="127.0.0.1:0", description="host:port of HTTP /metrics, /ready and /live.")
    keys_dir: Path = Field(default=Path("keys"), description="Folder of key files (`python -m services.chassis.keys`).")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    traces_file: Path | None = Field(default=None, description="Spans are appended here as JSON lines.")
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1, description="Share of requests that are traced.")
    drain_delay_s: float = Field(default=0.0, ge=0, description="After SIGTERM: not ready, yet serving.")
    drain_grace_s: float = Field(default=10.0, gt=0, description="Then calls under way may take this long.")
    relay_pace_s: float = Field(default=0.1, ge=0, description="Under load, from one batch of events to the next.")
    reflection: bool = Field(default=False, description="gRPC server reflection; on in the local stack, off in production.")
    max_concurrent_calls: int = Field(default=1024, ge=1, description="Calls at once; more are told when to come again.")


def print_settings(settings: type[ChassisSettings]) -> None:
    """Lists each setting: environment variable, default, meaning."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    table = Table(show_lines=False)
    table.add_column("environment variable", no_wrap=True, min_width=max(len(prefix + name) for name in settings.model_fields))
    table.add_column("default")
    table.add_column("meaning")
    for name, spec in settings.model_fields.items():
        default = "(required)" if spec.is_required() else str(spec.default)
        table.add_row(f"{prefix}{name}".upper(), default, spec.description or "")
    Console().print(table)
