"""What is known of a service beyond systemd."""

from __future__ import annotations

from sqlmodel import Field

from data.models.columns import Record


class ServiceConf(Record, table=True):
    """One known service. `unit` is its unit name when that differs, `instance_configs` a glob of its instances."""

    __tablename__ = "service_conf"

    name: str = Field(primary_key=True)
    unit: str | None = None
    description: str | None = None
    main: bool = False
    multiple_instances: bool = False
    module_link: str | None = None
    instance_configs: str | None = None
