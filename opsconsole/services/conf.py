"""services.toml: which services matter, how they are described, and which have several instances."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = Path(__file__).with_name("services.toml")
_TYPES = {"main": bool, "description": str, "module_link": str, "unit": str, "template": str, "configs": str}
_NAME = re.compile(r"[A-Za-z0-9:_.\-]{1,200}")


@dataclass(frozen=True, slots=True)
class ServiceConf:
    """One known service. `template` (`openvpn@.service`) makes it one with several instances."""

    name: str
    main: bool = False
    description: str = ""
    module_link: str | None = None
    unit: str | None = None
    template: str | None = None
    configs: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """All known services; `notes` says which lines were wrong and left out."""

    services: dict[str, ServiceConf] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def by_template(self) -> dict[str, ServiceConf]:
        return {conf.template: conf for conf in self.services.values() if conf.template}

    @property
    def by_unit(self) -> dict[str, ServiceConf]:
        return {conf.unit or f"{conf.name}.service": conf for conf in self.services.values() if not conf.template}

    @property
    def instance_configs(self) -> dict[str, str]:
        return {c.template: c.configs for c in self.services.values() if c.template and c.configs}


def load(home: Path) -> Known:
    """The operator's file, seeded on first use. A broken file falls back to the seed, and says so."""
    path = home / "services.toml"
    if not path.exists():
        shutil.copyfile(SEED, path)
    try:
        return parse(path.read_text("utf-8"), str(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        seed = parse(SEED.read_text("utf-8"), str(SEED))
        return Known(seed.services, (f"{path}: {error}; the built-in list is used",))


def parse(text: str, where: str) -> Known:
    raw = tomllib.loads(text)
    services: dict[str, ServiceConf] = {}
    notes = [f"{where}: [{name}] is not known; entries are [service.NAME]" for name in raw if name != "service"]
    entries = raw.get("service", {})
    for name, values in entries.items() if isinstance(entries, dict) else ():
        problem = _problem(name, values)
        if problem:
            notes.append(f"{where}: [service.{name}]: {problem}; left out")
        else:
            services[name] = ServiceConf(name=name, **values)
    return Known(services, tuple(notes))


def _problem(name: str, values: Any) -> str | None:
    if not isinstance(values, dict) or not _NAME.fullmatch(name):
        return "not a table with the name of a service"
    for key, value in values.items():
        if key not in _TYPES:
            return f"{key} is not one of {', '.join(_TYPES)}"
        if not isinstance(value, _TYPES[key]):
            return f"{key} must be a {_TYPES[key].__name__}"
    template = values.get("template")
    return None if template is None or template.endswith("@.service") else "template must end in @.service"
