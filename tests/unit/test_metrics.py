"""The families of metrics, their numbers, and who may read them; no server and no process."""

from __future__ import annotations

import ast
import errno
import fcntl
import math
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.metrics_core import Metric as Collected
from prometheus_client.parser import text_string_to_metric_families

from shared.asterisk.counts import About
from shared.asterisk.counts import Counts as Told
from shared.asterisk.endpoints import Endpoints
from shared.errors import LimitExceeded
from shared.following.counting import Counted
from shared.measures import (
    MEASURED,
    PREFIX,
    Measure,
    Metric,
    observe,
    the_observer,
    the_readers,
)
from shared.metrics import meters as module
from shared.metrics.counts import Counts
from shared.metrics.door import Attempts, Door
from shared.metrics.families import COUNTED, FAMILIES, SHOWN, Count, State
from shared.metrics.folder import counts_file, forget_process, make_room, shared_folder
from shared.metrics.meters import Meters
from shared.process import forget_all
from shared.settings import Rate, Settings, SettingsError
from shared.telemetry import LOG
from tests.describe import families
from tests.unit.test_readme import ROOT, table

TOKEN = "scrape-5d20c9e7b1f4"
COUNTED_ONCE = Counted(
    at=time.monotonic(),
    about=About("02:fc:00:00:00:01", "16.28.0", frozenset(), has_bridges=True),
    counts=Told(channels=6, calls=2, processed=7, bridges=None, uptime_s=60, reload_s=5),
    endpoints=Endpoints(total=10, online=8, offline=1),
)
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
    assert [tuple(row) for row in table(PAGE, "family")] == list(families())
    assert all(family.remedy for family in FAMILIES)
    names = [f.removesuffix("_total") for f in (family.full_name for family in FAMILIES)]
    text = (Meters(None).text() + Counts(None).text()).decode()
    assert [family.name for family in text_string_to_metric_families(text)] == names


# The watchdog's, and that of who pushes to WebSockets.
ON_LAMBDA = {"HostsUntracked", "PushesGivenUp"}


def test_every_measure_has_a_family_but_lambdas() -> None:
    """What Lambda alone counts has none; a state has one, too."""
    assert set(MEASURED) == {*get_args(Metric), *get_args(Measure)} - ON_LAMBDA
    assert set(SHOWN) == set(get_args(State))
    assert set(COUNTED) == set(get_args(Count))


def test_no_label_names_a_caller() -> None:
    """Labels are a few words, of which `pbx` alone is an operator's."""
    allowed = {
        *("route", "method", "status", "code", "phase", "reason", "transport", "outcome"),
        *("kind", "version", "release", "role", "use", "state", "pbx", "eid"),
    }
    assert {label for family in FAMILIES for label in family.labels} == allowed
    with_pbx = {family.name for family in FAMILIES if "pbx" in family.labels}
    counted = {family.name for family in COUNTED.values()}
    assert with_pbx == {"pbx_failing", "tracker_lease", "tracker_look_age_seconds"} | counted


def test_no_family_is_taken_for_a_part_of_another() -> None:
    """A histogram's sums and counts are series too, and res_prometheus has names that end so."""
    series = [
        family.full_name + part
        for family in FAMILIES
        for part in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
    ]
    assert len({*series, *(family.full_name for family in FAMILIES)}) == len(series) + sum(
        family.kind == "histogram" for family in FAMILIES
    )
    assert {"asterisk_calls_sum", "asterisk_calls_count"} <= {f.full_name for f in COUNTED.values()}
    assert "asterisk_calls" not in {family.full_name for family in FAMILIES}


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
        if name not in ON_LAMBDA:
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


# What PBXs count of themselves


def lines_of(counts: Counts) -> list[str]:
    """Read the samples, without how old they are."""
    lines = counts.text().decode().splitlines()
    return [line for line in lines if not line.startswith(("#", f"{PREFIX}pbx_counts_age"))]


def test_what_a_pbx_counts_is_told_as_res_prometheus_does() -> None:
    """Its names, its types, no ending `_total`; what is not known is missing, alone."""
    counts = Counts(None)
    counts.show({'192.0.2.7"\\\n': COUNTED_ONCE})
    labels = '{eid="02:fc:00:00:00:01",pbx="192.0.2.7\\"\\\\\\n"'
    assert lines_of(counts) == [
        f"asterisk_channels_count{labels}}} 6",
        f"asterisk_calls_count{labels}}} 2",
        f"asterisk_calls_sum{labels}}} 7",
        f"asterisk_endpoints_count{labels}}} 10",
        f"asterisk_core_uptime_seconds{labels}}} 60",
        f"asterisk_core_last_reload_seconds{labels}}} 5",
        f'asterisk_core_properties{labels},version="16.28.0"}} 1',
        f'asterisk_calls_pbx_endpoints{labels},state="online"}} 8',
        f'asterisk_calls_pbx_endpoints{labels},state="offline"}} 1',
    ]
    text = counts.text().decode()
    assert "# TYPE asterisk_calls_sum counter\n" in text
    assert "# TYPE asterisk_calls_count gauge\n" in text
    assert 0 <= numbers_in(text)[f"{PREFIX}pbx_counts_age_seconds"] < 3600


def numbers_in(text: str) -> dict[str, float]:
    """Read values by their names alone."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_of_several_processes_who_asked_last_tells(tmp_path: Path) -> None:
    """Also while another one still shows what it was told before."""
    mine, others = Counts(tmp_path), counts_file(tmp_path, "another")
    mine.show({"192.0.2.7": COUNTED_ONCE})
    newer = replace(COUNTED_ONCE, at=COUNTED_ONCE.at + 0.5, endpoints=None)
    newer = replace(newer, counts=replace(newer.counts, channels=9))
    reader = Counts(tmp_path)
    counts_file(tmp_path, os.getpid()).rename(others)
    mine.show({"192.0.2.7": newer})
    for each in (mine, reader):
        assert lines_of(each)[0].endswith(" 9")
        assert not [line for line in lines_of(each) if "endpoints" in line]
    others.write_text("{")  # a disk that is full
    assert lines_of(reader)[0].endswith(" 9")


def test_what_is_old_is_gone() -> None:
    """A PBX that was not seen for five minutes, whoever has it still."""
    counts = Counts(None)
    counts.show({"192.0.2.7": replace(COUNTED_ONCE, at=time.monotonic() - 301)})
    assert lines_of(counts) == []


@pytest.mark.parametrize("shared", [True, False])
def test_who_has_read_is_known_to_all(shared: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Within five minutes, by whichever of several processes; before it is nobody."""
    assert not the_readers()()
    folder = tmp_path if shared else None
    one, other = Counts(folder), Counts(folder)
    assert not one.are_read()
    one.note_reader()
    assert one.are_read()
    assert other.are_read() is shared
    if shared:
        os.utime(tmp_path / "read", (time.time() - 301,) * 2)
        assert not other.are_read()


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
        Counts(folder).show({"192.0.2.7": COUNTED_ONCE})
        assert counts_file(folder, pid).exists()
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
