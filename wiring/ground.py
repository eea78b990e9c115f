"""What is there before any service: the data folder, the secrets and the database.

Each mistake of the settings that shows only here becomes a ConfigurationError.
"""

import os
from pathlib import Path
from typing import Final

from flask import Flask
from flask_migrate import Migrate, upgrade
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from config import ConfigurationError, Settings
from config.secrets import secret_in
from models import db
from services.database import Database, engine_options, prepare_engine, upgrade_lock
from storage.folders import sync_names

MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"


def make_folders(settings: Settings) -> None:
    """Make the data folder and its scratch. Raises ConfigurationError where that cannot be."""
    try:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        if settings.durable:
            sync_names(settings.data_dir)
        writable = os.access(settings.data_dir, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError([f"DATA_DIR: cannot be used: {error.strerror}"]) from error
    if not writable:
        raise ConfigurationError(["DATA_DIR: is not writable"])


def secrets_of(settings: Settings) -> list[str]:
    """Return the secret that was set, or the one that this DATA_DIR has, and then earlier ones."""
    earlier = [secret.get_secret_value() for secret in settings.secret_key_fallbacks]
    try:
        return [settings.secret_key.get_secret_value() or secret_in(settings.data_dir), *earlier]
    except OSError as error:
        reason = f"DATA_DIR: its secret_key cannot be used: {error.strerror}"
        raise ConfigurationError([reason]) from error


def open_database(app: Flask, settings: Settings) -> Database:
    """Open the database and bring its tables up to date. Raises ConfigurationError."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    try:
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings.database_url)
        db.init_app(app)
        Migrate(app, db, directory=str(MIGRATIONS))
        with app.app_context():
            engine: Engine = db.engine
            prepare_engine(engine, durable=settings.durable)
            with upgrade_lock(engine, settings.data_dir):
                upgrade()
    except SystemExit as error:
        # Flask-Migrate ends so, once it has logged why.
        raise ConfigurationError(["DATABASE_URL: its schema is not one of this version"]) from error
    except ValueError as error:
        # Its message quotes what was taken for a port, which may be a piece of the password.
        raise ConfigurationError(["DATABASE_URL: its port is not a number"]) from error
    except (SQLAlchemyError, ImportError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ConfigurationError([f"DATABASE_URL: cannot be used: {reason}"]) from error
    return Database(engine)
