"""`durian serve`: what is checked, said and started, in one process or in several."""

from __future__ import annotations

import ipaddress
import os
import resource
import sys
from contextlib import suppress

from app import logs, tracing
from app.configuration import check_environment
from app.db.database import Database
from app.services.keys import Keys
from app.settings import Settings
from models import __version__
from models.errors import DurianError


def serve(host: str = "127.0.0.1", port: int = 8000, worker: bool = True, workers: int = 0) -> None:
    """Run the service until SIGTERM or SIGINT, with `workers` processes for HTTP beside the engine's, or all
    in this one. Exits with 2 where it would be open to the network."""
    logs.configure()
    _as_many_files_as_allowed()
    tracing.configure()
    check_environment(Settings)
    settings = Settings()
    if not _loopback(host):
        settings = _closed(settings, host)
    if workers:
        _serve_by_several(settings, host, port, worker, workers)
    else:
        _serve_by_one(settings, host, port, worker)


def _serve_by_one(settings: Settings, host: str, port: int, worker: bool) -> None:
    import uvicorn

    from app.api.entrance import Entrance
    from app.api.protocol import server_options
    from app.drain import Server
    from app.main import create_app

    app = create_app(settings, worker=worker)
    _announce(host, port)
    config = uvicorn.Config(
        Entrance(app), host=host, port=port, **server_options(settings, app.state.turnstile.refusal)
    )
    Server(config, app.state.services.health, settings.drain_notice_seconds).run()


def _serve_by_several(settings: Settings, host: str, port: int, worker: bool, workers: int) -> None:
    # Nothing that computes is imported here: the parent has only to outlive its children.
    from app.frontends.supervisor import supervise

    if sys.platform != "linux":
        raise DurianError("Several processes need Linux; serve with --workers 0 here.", code="unsupported")
    db = Database(settings.database_url)
    db.migrate()  # once, before several processes look at it
    db.close()
    os.environ["DURIAN_AUTH"] = settings.auth  # the processes read their settings from the environment
    supervise(host, port, workers, worker=worker, announce=lambda bound: _announce(host, bound))


def _as_many_files_as_allowed() -> None:
    """Every connection is an open file, and what a process starts with is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _closed(settings: Settings, host: str) -> Settings:
    """Settings that ask for keys; there must be one, or nobody could use the service."""
    db = Database(settings.database_url)
    db.migrate()
    has_keys = Keys(db, settings.pepper_file).any()
    db.close()
    if settings.auth == "open" or not has_keys:
        sys.stderr.write(
            f"Durian does not start on {host} without API keys. Make one with\n"
            "  durian keys create --tenant default --role admin\n"
            "and unset DURIAN_AUTH if it says open, or serve on 127.0.0.1.\n"
        )
        raise SystemExit(2)
    return settings.model_copy(update={"auth": "keys"})


def _announce(host: str, port: int) -> None:
    address = f"http://{host}:{port}"
    sys.stdout.write(
        f"Durian {__version__}  {address}\n  API pages  {address}/docs\n  metrics    {address}/metrics\n"
    )
    sys.stdout.flush()
