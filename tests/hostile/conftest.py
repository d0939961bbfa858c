"""What the hostile cases share with the integration tests: real servers, and the whole service."""

from __future__ import annotations

from tests.integration.conftest import database, postgres, service, start

__all__ = ["database", "postgres", "service", "start"]
