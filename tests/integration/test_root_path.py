"""A service that a proxy has below a path tells its own addresses with it."""

from __future__ import annotations

import pytest

from shared.settings import Settings, SettingsError
from tests.integration.service import PHONE, Services

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("root_path", ["", "/pbx", "/a/b-c_d.e~1"])
async def test_what_an_answer_leads_to_is_below_the_proxys_path(
    start: Services, root_path: str
) -> None:
    """`call_status_url` of all answers, and `Location`; the service's own paths are as ever."""
    service = await start(ROOT_PATH=root_path)
    placed = await service.http.post("/api/calls", json={"from": "150", "to": PHONE})
    path = f"/api/calls/{placed.json()['call_id']}"
    assert placed.headers["location"] == placed.json()["call_status_url"] == root_path + path
    told = (await service.http.get(path)).json()
    assert told["call_status_url"] == root_path + path
    listed = (await service.http.get("/api/calls")).json()["calls"]
    assert [call["call_status_url"] for call in listed] == [root_path + path]
    if root_path:
        assert (await service.http.get(root_path + path)).status_code == 404


@pytest.mark.parametrize("wrong", ["pbx", "/pbx/", "/", "//host", "/a b", "/\u00e9", "/a?b"])
def test_a_path_that_is_none_is_refused(wrong: str) -> None:
    """It begins with a slash, ends without one, and has nothing to encode."""
    with pytest.raises(SettingsError, match="ROOT_PATH"):
        Settings.from_environment({"ROOT_PATH": wrong})
