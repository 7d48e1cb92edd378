"""The smallest effect that can be trusted, and the verdict on a machine."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sparsemark.analysis.fitness import (
    LAUNCHES_A_SIDE,
    Disturbance,
    Fitness,
    in_percent,
    judge,
    noise_of,
    too_few_processors,
)

QUIET = Disturbance(0.0, 0.0, 0)


def ratios(spread, launches=20):
    """Log ratios of launches whose standard deviation is `spread`, about a constant bias."""
    half = launches // 2
    return [0.3 + sign * spread * math.sqrt((launches - 1) / launches) for sign in (-1, 1) for _ in range(half)]


def test_the_effect_is_that_of_the_formula_by_hand():
    """19 degrees of freedom here, 18 in the gate: t(0.975, 18) = 2.1009, t(0.8, 18) = 0.8620."""
    noise = noise_of(ratios(0.01))
    assert noise.launches == 20
    assert noise.spread == pytest.approx(0.01)
    margin = (2.1009 + 0.8620) * 0.01 * math.sqrt(0.2)
    assert noise.margin == pytest.approx(math.expm1(margin), rel=1e-4)
    assert noise.smallest_effect == pytest.approx(math.expm1(2 * margin), rel=1e-4)


def test_few_launches_make_the_effect_larger():
    """t(0.975, 2) = 4.3027, t(0.8, 2) = 1.0607."""
    noise = noise_of([-0.01, 0.0, 0.01])
    assert noise.spread == pytest.approx(0.01)
    assert noise.smallest_effect == pytest.approx(math.expm1(2 * 5.3634 * 0.01 * math.sqrt(0.2)), rel=1e-4)


def test_a_constant_difference_between_the_sides_costs_nothing():
    assert noise_of([0.1, 0.1, 0.1]).smallest_effect == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("log_ratios", [[], [0.1]])
def test_less_than_two_launches_have_no_spread(log_ratios):
    with pytest.raises(ValueError, match="expected at least 2"):
        noise_of(log_ratios)


@pytest.mark.parametrize("spread", [0.003, 0.02])
def test_gates_of_ten_launches_decide_as_promised(spread):
    """Simulated: with the least tolerance, at least four of five call nothing ok, and the smallest effect worse."""
    rng = np.random.default_rng(5)
    gates, promised = 4000, noise_of(ratios(spread, 1000))
    tolerance = math.log1p(promised.margin)

    def differences(effect):
        base, candidate = rng.normal(0.1, spread, (2, gates, LAUNCHES_A_SIDE))
        candidate += effect
        pooled = np.sqrt((base.var(1, ddof=1) + candidate.var(1, ddof=1)) / 2)
        half_width = stats.t.ppf(0.975, 2 * (LAUNCHES_A_SIDE - 1)) * pooled * math.sqrt(2 / LAUNCHES_A_SIDE)
        return candidate.mean(1) - base.mean(1), half_width

    difference, half_width = differences(0.0)
    assert 0.77 < np.mean(difference + half_width <= tolerance) < 0.85
    assert np.mean(difference - half_width > tolerance) < 0.001
    difference, half_width = differences(math.log1p(promised.smallest_effect))
    assert 0.77 < np.mean(difference - half_width > tolerance) < 0.85
    # With a larger tolerance, an effect must exceed it by the margin.
    difference, half_width = differences(math.log(1.1) + tolerance)
    assert 0.77 < np.mean(difference - half_width > math.log(1.1)) < 0.85


SPREAD_OF_ONE_PERCENT = math.log1p(0.01) / (2 * 2.9629 * math.sqrt(0.2))
"""At which the smallest effect of 20 launches is 1 %."""


@pytest.mark.parametrize(
    ("effect", "fitness"),
    [
        (0.0, Fitness.FIT),
        (0.0199, Fitness.FIT),
        (0.0201, Fitness.NOISY),
        (0.199, Fitness.NOISY),
        (0.2005, Fitness.UNFIT),
    ],
)
def test_the_verdict_follows_from_the_smallest_effect(effect, fitness):
    spread = SPREAD_OF_ONE_PERCENT * math.log1p(effect) / math.log1p(0.01)
    judgement = judge(noise_of(ratios(spread)), QUIET)
    assert judgement.fitness is fitness
    assert judgement.noise.smallest_effect == pytest.approx(effect, abs=2e-5)
    reason = ("effects below 20.1 % cannot be told from noise",)
    assert judgement.reasons == (reason if fitness is Fitness.UNFIT else ())


@pytest.mark.parametrize(
    ("disturbance", "reason"),
    [
        (Disturbance(steal=0.021), "other tenants took 2.1 % of the processor"),
        (Disturbance(waited=0.3), "other processes had the processor for 30.0 % of the time"),
        (Disturbance(throttled=1), "the control group's CPU limit stopped the measurement once"),
        (Disturbance(throttled=7), "the control group's CPU limit stopped the measurement 7 times"),
    ],
)
def test_whatever_contaminates_every_cell_makes_a_machine_unfit(disturbance, reason):
    judgement = judge(noise_of(ratios(0.0001)), disturbance)
    assert (judgement.fitness, judgement.reasons) == (Fitness.UNFIT, (reason,))


def test_every_reason_is_named():
    judgement = judge(noise_of(ratios(0.5)), Disturbance(0.1, 0.2, 3))
    text = "; ".join(judgement.reasons)
    assert all(word in text for word in ("tenants", "processes", "limit", "effects below"))


@pytest.mark.parametrize("disturbance", [Disturbance(), Disturbance(0.02, 0.02, 0)])
def test_what_is_not_counted_or_within_the_limit_is_no_reason(disturbance):
    assert judge(noise_of(ratios(0.0001)), disturbance).fitness is Fitness.FIT


def test_more_threads_than_processors_are_unfit_without_any_timing():
    assert too_few_processors(2, 2) is None
    judgement = too_few_processors(4, 2)
    assert (judgement.fitness, judgement.noise) == (Fitness.UNFIT, None)
    assert judgement.reasons == ("4 threads on 2 processors",)
    assert too_few_processors(2, 1).reasons == ("2 threads on 1 processor",)


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.02, "2.0 %"), (0.0201, "2.1 %"), (0.07, "7.0 %"), (0.0, "0.0 %"), (0.1999, "20.0 %")]
)
def test_an_effect_is_rounded_up(fraction, text):
    assert in_percent(fraction) == text
