"""What the operator says, parsed once: flags, then environment, then a file -> each package's frozen settings."""

from dnsfw.settings.build import LogSettings, RunSettings, settings_from
from dnsfw.settings.given import SettingsError
from dnsfw.settings.places import api_from, default_api
from dnsfw.settings.table import LogFormat

__all__ = ["LogFormat", "LogSettings", "RunSettings", "SettingsError", "api_from", "default_api", "settings_from"]
