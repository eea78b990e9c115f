"""How gunicorn runs Holdall: `gunicorn app:app` in this folder reads it.

All that an operator sets comes from `config`; the rest is fixed here, since the application
counts on it. It must not import the application itself: what the master holds, every worker
inherits, and neither connections nor threads survive a fork.
"""

import gc
import logging.config
import os
import resource
import signal
import sys
from typing import Any, NoReturn

from gunicorn.glogging import Logger

from config import ConfigurationError, Settings, load_settings
from config.logs import logging_config
from config.metrics import claim_metrics_folder, metrics_parent

_CLIENTS_AT_ONCE = 1536
_OTHER_FILES = 256


def _settings() -> Settings:
    try:
        return load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


def _threads(settings: Settings) -> int:
    """Return the threads of a worker: as set, or enough for a thousand slow clients and others."""
    if "threads" in settings.model_fields_set:
        return settings.threads
    return max(settings.threads, -(-_CLIENTS_AT_ONCE // settings.web_concurrency))


def _bind(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.flask_run_port}"


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: each client is one, or two while it sends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _file_limit() -> int:
    """Return how many files a worker may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's own lines, written as the application's are; the application logs the requests."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logging.config.dictConfig(logging_config(_SETTINGS))


_SETTINGS = _settings()
_raise_file_limit()

bind = _bind(_SETTINGS)
workers = _SETTINGS.web_concurrency
worker_class = "worker.front.Worker"
threads = _threads(_SETTINGS)
# Who waits is held by the worker's loop, and costs a descriptor only.
worker_connections = max(threads + 1, min(threads + 8192, _file_limit() - _OTHER_FILES))
backlog = 2048

# gthread's heartbeat is its event loop's, so this is no limit on a request.
timeout = 60
graceful_timeout = 30
# Longer than a proxy keeps an idle connection (nginx: 60 s), so that it is the proxy that closes.
keepalive = 75
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
http_protocols = "h1"
http_parser = "python"
header_map = "refuse"
# The application reads forwarded headers itself, from TRUSTED_PROXIES only.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}

control_socket_disable = True
proc_name = "holdall"
accesslog = None
loglevel = _SETTINGS.log_level
logger_class = _Logger


def on_starting(server: Any) -> None:
    """Make ready what the workers need, once; what is wrong ends the start and not each worker."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The database is nobody else's to read; a front server in the same group may read files.
    os.umask(0o027)
    child = os.fork()
    if child == 0:
        _prepare_and_exit()
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(abs(status))
    claim_metrics_folder(metrics_parent(_SETTINGS.scratch))


def _prepare_and_exit() -> NoReturn:
    """Run the application's preparation in this process, which holds nothing that is shared."""
    status = 1
    # Nothing that is made here is looked at twice.
    gc.disable()
    try:
        import app

        logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)
        app.prepare(_SETTINGS)
        status = 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def child_exit(server: Any, worker: Any) -> None:
    """Take a worker that has ended out of what counts only living ones."""
    from prometheus_client import multiprocess

    worker.seat.free()
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
