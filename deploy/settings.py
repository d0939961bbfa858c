"""The settings, as asterisk.sh needs them.

    python deploy/settings.py env FILE     the settings of such a file, each ended by a NUL
    python deploy/settings.py check        exit 1 and a sentence for what is wrong
    python deploy/settings.py get NAME     the value that holds
    python deploy/settings.py url          where this machine finds the service

A sentence on stderr says what is wrong, or doubtful; no value of the file is ever repeated.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.envfile import Malformed, parse
from shared.http.binding import check_bind, service_url
from shared.logfile import check_log_file
from shared.settings import READ_ON_THE_WAY, SettingsError, doubts, the_settings
from shared.store.database import Database


def _env(path: Path) -> str:
    try:
        # Bytes that are no text stay as they are, as those of the environment do.
        text = path.read_text("utf-8", errors="surrogateescape")
        return "".join(f"{name}={value}\0" for name, value in parse(text))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except Malformed as error:
        raise SettingsError(f"{path}, {error}") from None


def _check() -> str:
    settings = the_settings()
    Database(settings)  # connects to nothing yet, and reads POSTGRES_CA_FILE
    check_log_file(settings)
    check_bind(settings)
    exposed = [READ_ON_THE_WAY] if settings.is_read_on_the_way else []
    for doubt in [*doubts(), *exposed]:
        sys.stderr.write(f"⚠️ {doubt}\n")
    return ""


def main() -> int:
    """Run the command named; 0 if nothing is wrong."""
    try:
        match sys.argv[1:]:
            case ["env", path]:
                said = _env(Path(path))
            case ["check"]:
                said = _check()
            case ["url"]:
                said = f"{service_url(the_settings())}\n"
            case ["get", name]:
                said = f"{getattr(the_settings(), name)}\n"
            case _:
                print(__doc__)
                return 2
    except SettingsError as error:
        sys.stderr.write(f"❌ {error}\n")
        return 1
    sys.stdout.buffer.write(said.encode("utf-8", errors="surrogateescape"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
