"""Clock of a processor, as far as the system shows it."""

from __future__ import annotations

import pytest

from sparsemark.machine.frequency import BOOST, NO_TURBO, bounds_khz, current_khz, governor, turbo

POLICY = "/sys/devices/system/cpu/cpu3/cpufreq"
CPUINFO = """processor\t: 0
cpu MHz\t\t: 1000.5
power management:

processor\t: 33
model name\t: x

processor\t: 3
model name\t: x
cpu MHz\t\t: 2445.4204
"""


def test_a_machine_that_shows_nothing_has_no_clock(files):
    assert (governor(3), turbo(), bounds_khz(3), current_khz(3)) == (None, None, (None, None), None)


def test_the_clock_is_that_of_the_processor_asked_for(files):
    files |= {
        f"{POLICY}/scaling_governor": "powersave\n",
        f"{POLICY}/scaling_min_freq": "800000\n",
        f"{POLICY}/scaling_max_freq": "3700000\n",
        f"{POLICY}/scaling_cur_freq": "2100000\n",
        "/proc/cpuinfo": CPUINFO,
    }
    assert (governor(3), bounds_khz(3), current_khz(3)) == ("powersave", (800_000, 3_700_000), 2_100_000)
    assert (governor(0), bounds_khz(0), current_khz(0)) == (None, (None, None), 1_000_500)


def test_where_no_policy_is_shown_the_clock_is_the_processors_own(files):
    files["/proc/cpuinfo"] = CPUINFO
    assert current_khz(3) == 2_445_420
    assert current_khz(33) is None, "that of another processor is not its own"
    assert current_khz(7) is None


def test_a_frequency_that_is_no_number_is_none(files):
    files[f"{POLICY}/scaling_cur_freq"] = "<unknown>\n"
    assert current_khz(3) is None


@pytest.mark.parametrize(
    ("no_turbo", "boost", "enabled"),
    [
        (None, None, None),
        ("0", None, True),
        ("1", None, False),
        (None, "0", False),
        (None, "1", True),
        ("1", "1", False),
        ("?", None, None),
    ],
)
def test_turbo_by_either_switch(no_turbo, boost, enabled, files):
    """Intel's driver says whether it is off, the others whether it is on."""
    files |= {path: f"{text}\n" for path, text in ((NO_TURBO, no_turbo), (BOOST, boost)) if text}
    assert turbo() is enabled
