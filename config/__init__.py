"""Settings of the service, from the environment. The only place that reads `os.environ`."""

from config.backends import BackendSettings
from config.settings import ConfigurationError, Settings, load_settings

__all__ = ["BackendSettings", "ConfigurationError", "Settings", "load_settings"]
