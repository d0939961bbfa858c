"""The families of metrics, their numbers, and who may read them; no server and no process."""

from __future__ import annotations

import ast
import errno
import fcntl
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.metrics_core import Metric as Collected
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import LimitExceeded
from shared.measures import Measure, Metric, observe, the_observer
from shared.metrics import meters as module
from shared.metrics.door import Attempts, Door
from shared.metrics.families import FAMILIES, MEASURED, PREFIX, SHOWN, State
from shared.metrics.folder import forget_process, make_room, shared_folder
from shared.metrics.meters import Meters
from shared.process import forget_all
from shared.settings import Rate, Settings, SettingsError
from shared.telemetry import LOG
from tests.unit.test_readme import ROOT, table

TOKEN = "scrape-5d20c9e7b1f4"
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """Begin and end as a new process does."""
    forget_all()
    yield
    forget_all()


# The families


def test_the_page_has_the_families_that_are_registered() -> None:
    """Each with its type, its labels and its sentence, in order; none without a remedy."""
    told = [tuple(row) for row in table(PAGE, "family")]
    assert [row[:4] for row in told] == [
        (f"`{f.full_name}`", f.kind, ", ".join(f"`{label}`" for label in f.labels), f.help)
        for f in FAMILIES
    ]
    assert all(row[4] for row in told)
    names = [f.removesuffix("_total") for f in (family.full_name for family in FAMILIES)]
    text = Meters(None).text().decode()
    assert [family.name for family in text_string_to_metric_families(text)] == names


def test_every_measure_has_a_family_but_the_watchdogs() -> None:
    """The watchdog's is Lambda's alone; a state has one, too."""
    assert set(MEASURED) == {*get_args(Metric), *get_args(Measure)} - {"HostsUntracked"}
    assert set(SHOWN) == set(get_args(State))


def test_no_label_names_a_caller() -> None:
    """Labels are a few words, of which `pbx` alone is an operator's."""
    allowed = {
        *("route", "method", "status", "code", "phase", "reason", "transport", "outcome"),
        *("kind", "version", "release", "role", "use", "state", "pbx"),
    }
    assert {label for family in FAMILIES for label in family.labels} == allowed
    with_pbx = {family.name for family in FAMILIES if "pbx" in family.labels}
    assert with_pbx == {"pbx_failing", "tracker_lease", "tracker_look_age_seconds"}


def observed() -> Iterator[tuple[str, str, set[str]]]:
    """Yield each place that observes or counts something: where, what, by which labels."""
    for path in (*ROOT.glob("shared/**/*.py"), *ROOT.glob("functions/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"observe", "count", "being_there"}
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                labels = {str(keyword.arg) for keyword in node.keywords}
                yield path.name, str(node.args[0].value), labels


def test_whatever_is_observed_has_its_familys_labels() -> None:
    """Or it would be counted by nobody; and no family waits for what nobody says."""
    seen = list(observed())
    for where, name, labels in seen:
        if name != "HostsUntracked":
            assert labels == set(MEASURED[name].labels), where  # type: ignore[index] # read
    assert {name for _, name, _ in seen} >= set(MEASURED)


# Their numbers


def numbers(meters: Meters) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read what is told."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(meters.text().decode())
        for sample in family.samples
    }


def told(meters: Meters, name: str, **labels: str) -> float | None:
    """Read one number; None: it is not told."""
    return numbers(meters).get((PREFIX + name, frozenset(labels.items())))


def test_nobody_observes_until_somebody_does() -> None:
    """Then it is counted, a duration in its bucket and all greater ones."""
    observe("CallsEnded", reason="busy")
    meters = Meters(None)
    the_observer.put(meters.observe)
    observe("CallsEnded", reason="busy")
    observe("CallsEnded", reason="busy")
    observe("CommandSeconds", 0.02, transport="socket", outcome="ok")
    assert told(meters, "ended_total", reason="busy") == 2
    assert told(meters, "ended_total", reason="answered") == 0
    labels = {"transport": "socket", "outcome": "ok"}
    told_of = {
        le: told(meters, "command_seconds_bucket", le=le, **labels) for le in ("0.01", "0.025")
    }
    assert told_of == {"0.01": 0, "0.025": 1}


def test_a_defect_of_counting_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever places a call goes on; the log has it once."""
    said: list[object] = []
    monkeypatch.setattr(LOG, "exception", lambda *words: said.append(words))
    meters = Meters(None)
    for _ in range(3):
        meters.observe("CallsEnded", 1, {"color": "red"})
    assert len(said) == 1


def test_what_is_shown_no_more_is_gone() -> None:
    """And there again once it is shown again."""
    meters = Meters(None)
    meters.show([("pbx_failing", 1, ("192.0.2.7",)), ("pbx_failing", 0, ("192.0.2.8",))])
    assert told(meters, "pbx_failing", pbx="192.0.2.7") == 1
    meters.show([("pbx_failing", 0, ("192.0.2.8",))])
    assert told(meters, "pbx_failing", pbx="192.0.2.7") is None
    assert told(meters, "pbx_failing", pbx="192.0.2.8") == 0
    meters.show([("pbx_failing", 1, ("192.0.2.7",))])
    assert told(meters, "pbx_failing", pbx="192.0.2.7") == 1


_TWO: tuple[dict[str, str], ...] = ({"pbx": "192.0.2.7"}, {"pbx": "192.0.2.8"})


class Processes:
    """What several processes have in their files, as the library reads it."""

    def collect(self) -> Iterator[Collected]:
        """Yield a few gauges."""
        for name, labels, values in (
            ("database_waiting", ({},), (2.0, 3.0)),
            ("pbx_failing", _TWO, (0.0, math.nan, 1.0, math.nan, math.nan)),
            ("tracker_look_age_seconds", _TWO[:1], (90.0, 97.0)),
        ):
            metric = Collected(PREFIX + name, "", "gauge")
            for number, value in enumerate(values):
                own = labels[number % len(labels)]
                metric.add_sample(metric.name, {**own, "pid": str(number)}, value)
            yield metric


def test_several_processes_gauges_are_one() -> None:
    """Those who wait together; failing where one finds it so; the newest of all looks."""
    source: Any = Processes()
    merged = {
        (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
        for metric in module._Merged(source, lambda: 100.0).collect()
        for sample in metric.samples
    }
    assert merged == {
        ("database_waiting",): 5.0,
        ("tracker_look_age_seconds", "192.0.2.7"): 3.0,
    } | {("pbx_failing", "192.0.2.7"): 1.0}


# The folder


def test_a_folder_is_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time another, mode 0700, empty; after the block nothing is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with shared_folder() as folder, shared_folder() as next_one:
        assert folder != next_one
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == []
        make_room(folder)
        files = {path.name: path.stat().st_blocks * 512 for path in folder.iterdir()}
        pid = os.getpid()
        names = {f"{kind}_{pid}.db" for kind in ("counter", "gauge_liveall", "histogram")}
        assert set(files) == names
        assert min(files.values()) >= 1 << 20
        forget_process(folder, pid)
        forget_process(folder, pid)
        assert {path.name for path in folder.iterdir()} == names - {f"gauge_liveall_{pid}.db"}
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_that_others_would_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file without its room cannot be read: each worker's answer would be a defect for good."""
    seen: list[Path] = []

    def allocate(*_: int) -> None:
        seen.extend(tmp_path.glob("*.db"))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(OSError, match="No space left"):
        make_room(tmp_path)
    assert (seen, list(tmp_path.iterdir())) == ([], [])


def test_what_a_killed_one_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another one uses stays, and whatever is no such folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, used, other = (tmp_path / f"asterisk-calls-metrics-{n}" for n in ("left", "used", "link"))
    elsewhere = tmp_path / "elsewhere"
    for folder in (left, used, elsewhere):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    other.symlink_to(elsewhere)
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with shared_folder():
        assert not left.exists()
        assert (used / "counter_1.db").exists()
        assert (elsewhere / "counter_1.db").exists()
    os.close(lock)


def test_a_folder_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what to set."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with (
        pytest.raises(SettingsError, match=r"^TMPDIR: .* cannot have the metrics"),
        shared_folder(),
    ):
        pass


# The door

HERE = [(b"host", b"127.0.0.1:8018"), (b"user-agent", b"Prometheus/3.0")]


def door(**settings: str) -> Door:
    """A door as these settings make it."""
    return Door(Settings.from_environment({k.upper(): v for k, v in settings.items()}))


@pytest.mark.parametrize(
    "host",
    [
        *(b"localhost", b"localhost:8018", b"LOCALHOST", b"127.0.0.1", b"127.0.0.1:8018"),
        *(b"127.8.9.10", b"[::1]", b"[::1]:8018", b"[::ffff:127.0.0.1]"),
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.3.4.5", "::ffff:127.0.0.1"])
def test_who_is_here_reads_without_a_token(peer: str, host: bytes) -> None:
    """Both families of addresses, by any name that is this machine's own."""
    assert door().opens(peer, [(b"host", host)])


@pytest.mark.parametrize("peer", [None, "", "testclient", "192.0.2.7", "::", "2001:db8::1"])
def test_who_is_elsewhere_does_not(peer: str | None) -> None:
    """Nor whoever has no address, as at a Unix socket."""
    assert not door().opens(peer, HERE)


@pytest.mark.parametrize(
    "host",
    [
        *(b"", b"calls.example.test", b"localhost.example.test", b"127.0.0.1.example.test"),
        *(
            b"localhost:",
            b"localhost:8018:1",
            b"localhost:x",
            b"localhost:999999",
            b"user@localhost",
        ),
        *(b"192.0.2.7", b"0.0.0.0", b"[::]", b"0", b"2130706433", b"127.1", b"0x7f.0.0.1"),
        *(
            b"\xff\xfe",
            b"localhost\x00",
            "lоcalhost".encode(),
            "１２７.0.0.1".encode(),
            b"[",
            b"]:80",
        ),
    ],
)
def test_a_strange_host_is_refused(host: bytes) -> None:
    """A page whose name leads here (DNS rebinding) is told by its name."""
    assert not door().opens("127.0.0.1", [(b"host", host)])


def test_one_host_is_needed() -> None:
    """None, or two, are read in more than one way."""
    assert not door().opens("127.0.0.1", [])
    assert not door().opens("127.0.0.1", [(b"host", b"localhost"), (b"host", b"localhost")])


@pytest.mark.parametrize(
    "name",
    [
        *("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
        *("X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded", "X-Forwarded-Anything"),
        *("X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP", "True-Client-IP"),
        *("CF-Connecting-IP", "Fastly-Client-IP", "X-Original-Forwarded-For", "Forwarded-For"),
        *("X-Envoy-External-Address", "X-Originating-IP", "X-Remote-IP"),
    ],
)
@pytest.mark.parametrize("value", [b"127.0.0.1", b"", b"\xff"])
def test_who_speaks_for_another_is_not_here(name: str, value: bytes) -> None:
    """Whatever it says of that other one."""
    fields = [*HERE, (name.lower().encode(), value)]
    assert not door().opens("127.0.0.1", fields)
    bearer = (b"authorization", f"Bearer {TOKEN}".encode())
    assert door(metrics_token=TOKEN).opens("192.0.2.7", [*fields, bearer])


@pytest.mark.parametrize(
    "given",
    [
        *(b"", b"Bearer", b"Bearer ", TOKEN.encode(), f"bearer {TOKEN}".encode()),
        *(f"Bearer  {TOKEN}".encode(), f"Bearer {TOKEN} ".encode(), f"Basic {TOKEN}".encode()),
        *(f"Bearer {TOKEN}x".encode(), f"Bearer {TOKEN[:-1]}".encode(), b"Bearer \xff\x00"),
        f"Bearer {TOKEN.upper()}".encode(),
    ],
)
def test_another_token_is_none(given: bytes) -> None:
    """Exactly the token counts, wherever it comes from, this machine included."""
    assert not door(metrics_token=TOKEN).opens("127.0.0.1", [*HERE, (b"authorization", given)])


def test_the_token_is_needed_everywhere_once_it_is_set() -> None:
    """Whoever is here needs it too, once; and it is of no use where it is not set."""
    bearer = (b"authorization", f"Bearer {TOKEN}".encode())
    assert door(metrics_token=TOKEN).opens("192.0.2.7", [(b"host", b"calls.example.test"), bearer])
    assert not door(metrics_token=TOKEN).opens("127.0.0.1", HERE)
    assert not door(metrics_token=TOKEN).opens("127.0.0.1", [*HERE, bearer, bearer])
    assert not door().opens("192.0.2.7", [*HERE, bearer])


def test_wrong_tokens_are_limited_and_the_right_one_passes() -> None:
    """By address, an IPv6 subscriber's network being one; nobody else's are."""
    limited = door(metrics_token=TOKEN, rate_limit_address="2/60")
    wrong, right = ([(b"authorization", b"Bearer " + t)] for t in (b"guess", TOKEN.encode()))
    assert [limited.opens("2001:db8::1", wrong) for _ in range(2)] == [False, False]
    with pytest.raises(LimitExceeded) as refused:
        limited.opens("2001:db8::2", wrong)
    assert 0 < (refused.value.retry_after_s or 0) <= 30
    assert TOKEN not in str(refused.value)
    assert limited.opens("2001:db8::1", right)
    assert not limited.opens("2001:db8:1::1", wrong)
    assert [limited.opens("2001:db8::1", []) for _ in range(5)] == [False] * 5


def test_attempts_come_back_evenly_and_addresses_cost_no_memory() -> None:
    """One each half minute; while so many are known no other has one, until they are forgotten."""
    now = [0.0]
    attempts = Attempts(Rate(count=2, per_s=60), most=2, clock=lambda: now[0])
    assert [attempts.wait_s("a") for _ in range(3)] == [0, 0, 30]
    now[0] = 29.0
    assert attempts.wait_s("a") == 1
    now[0] = 30.0
    assert [attempts.wait_s("a") for _ in range(2)] == [0, 30]
    assert [attempts.wait_s("b"), attempts.wait_s("c")] == [0, 30]
    now[0] = 90.0
    assert attempts.wait_s("c") == 0
    assert len(attempts._full_at) == 1


@pytest.mark.parametrize(
    "token", ["short", "x" * 15, "x" * 256, "with a space in it", "tab\tin-the-middle", "п" * 16]
)
def test_a_token_that_could_not_be_sent_is_refused(token: str) -> None:
    """One sentence names the variable, and does not repeat its value."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"METRICS_TOKEN": token})
    said = str(refused.value)
    assert "METRICS_TOKEN: " in said
    assert "must be 16 to 255 visible ASCII characters without a space" in said
    assert token not in said
    assert "\n" not in said


def test_a_token_is_shown_nowhere() -> None:
    """Not where settings are."""
    settings = Settings.from_environment({"METRICS_TOKEN": "!" * 8 + "~" * 247})
    assert "~~~" not in repr(settings) + str(settings.model_dump())


def test_a_follower_has_a_port_more_for_its_metrics() -> None:
    """Where that is another one; nobody else has."""
    own = {"ROLE": "follower", "FOLLOWER_PORT": "8119", "SERVICE_PORT": "8118"}
    ports = [
        Settings.from_environment(own | {"ROLE": role, "METRICS_PORT": port}).ports
        for role in ("follower", "all")
        for port in ("off", "8119", "8120")
    ]
    assert ports == [(8119,), (8119,), (8119, 8120), (8118,), (8118,), (8118,)]
