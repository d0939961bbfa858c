"""How much a host may send: what was asked for, and a little more."""

from __future__ import annotations

from shared.ssh.intake import _UNASKED_BYTES, _UNASKED_BYTES_PER_S, _WRAPPED, Intake


class Clock:
    """Goes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def made() -> tuple[Intake, Clock]:
    """Make one with its clock."""
    clock = Clock()
    return Intake(clock=clock), clock


def test_a_host_may_say_a_little_unasked() -> None:
    """A log-in, and no more; what is over the limit stays over it."""
    intake, _ = made()
    assert intake.take(_UNASKED_BYTES)
    assert not intake.take(1)
    assert intake.is_exceeded
    intake.expect(1_000)
    assert not intake.take(1)


def test_what_was_asked_for_may_come() -> None:
    """With what SSH wraps it in; once it was had, or given up, nothing of it may."""
    intake, _ = made()
    end = intake.expect(1_000)
    assert intake.take(_UNASKED_BYTES + _WRAPPED * 1_000)
    assert not intake.take(1)
    intake, _ = made()
    end = intake.expect(10_000_000)
    end()
    end()  # once more changes nothing
    assert intake.take(_UNASKED_BYTES)
    assert not intake.take(1)


def test_a_thousand_answers_save_nothing_up() -> None:
    """Whoever was asked for much and said little may not say it later."""
    intake, _ = made()
    for _ in range(1_000):
        end = intake.expect(1_000_000)
        assert intake.take(100)
        end()
    assert not intake.take(_UNASKED_BYTES + 1)


def test_a_connection_is_kept_alive_for_years() -> None:
    """A hundred bytes each half minute are never too much, nor do they make room for a flood."""
    intake, clock = made()
    for _ in range(10_000):
        clock.now += 30
        assert intake.take(100)
    clock.now += 1_000_000
    assert not intake.take(_UNASKED_BYTES + 1)
    assert _UNASKED_BYTES_PER_S * 30 > 100
