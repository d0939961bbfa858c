"""What all tests of the deployment share."""

from __future__ import annotations

import pytest

from tests.deploy.template import Template, load_template


@pytest.fixture
def template() -> Template:
    """The template, parsed anew."""
    return load_template()
