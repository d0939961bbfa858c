"""What the tests of whole processes share with the integration tests: a database, stand-ins."""

from __future__ import annotations

from tests.integration.conftest import database, operate, postgres, service, start

__all__ = ["database", "operate", "postgres", "service", "start"]
