"""Where settings come from besides the environment: files named by `DURIAN_..._FILE`, and `durian.toml`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from models.errors import InvalidInput

PREFIX = "DURIAN_"
_FROM_FILE = "_FILE"
CONFIG = "DURIAN_CONFIG"
"""Names the TOML file; without it `durian.toml` of the working directory, if there is one."""

OTHERS = frozenset({"DURIAN_URL", "DURIAN_API_KEY", "DURIAN_LOG", CONFIG})
"""Variables that are no settings of the service: the client's, how to log, and the above."""

_TESTS = "DURIAN_TEST_"


class FileSource(PydanticBaseSettingsSource):
    """`DURIAN_DATABASE_FILE=/run/secrets/database` gives `database` what the file holds."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}{_FROM_FILE}")
        return (None if path is None else _read(path, field_name)), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def toml_source(settings: type[BaseSettings]) -> TomlConfigSettingsSource:
    """The keys of the TOML file are the names of settings, in lower case. Raises InvalidInput."""
    named = os.environ.get(CONFIG)
    if named is not None and not Path(named).is_file():
        raise InvalidInput(f"{CONFIG}: there is no file {named}.", code="bad_setting", param=CONFIG)
    return TomlConfigSettingsSource(settings, toml_file=named or "durian.toml")


def _read(path: str, name: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        variable = f"{PREFIX}{name.upper()}{_FROM_FILE}"
        raise InvalidInput(
            f"{variable}: {path} cannot be read ({type(error).__name__}).", code="bad_setting", param=variable
        ) from None


def told(error: ValidationError) -> str:
    """Each wrong setting by its name, and what is wrong with it; never its value, which may be a secret."""
    wrong = [f"{_variable(one['loc'])}: {one['msg']}" for one in error.errors(include_input=False)]
    return "Wrong settings. " + "; ".join(wrong) + ". See docs/configuration.md."


def _variable(place: tuple[int | str, ...]) -> str:
    return PREFIX + str(place[0]).upper() if place else "settings"


def strangers(environ: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    """Variables that look like settings and are none: misspelt, most likely."""
    known = {PREFIX + name.upper() for name in settings}
    known |= {name + _FROM_FILE for name in known} | OTHERS
    given = (name for name in environ if name.startswith(PREFIX) and not name.startswith(_TESTS))
    return sorted(name for name in given if name not in known)


def check_environment(settings: type[BaseSettings]) -> None:
    """Raises InvalidInput naming the variables that are no settings."""
    unknown = strangers(os.environ, settings.model_fields)
    if unknown:
        raise InvalidInput(
            f"There is no setting {', '.join(unknown)}: correct or unset it (docs/configuration.md).",
            code="bad_setting",
            param=unknown[0],
        )
