"""How far a stage is behind, in messages and in seconds."""

from __future__ import annotations

from prometheus_client import REGISTRY

from jobs.run_stages import Outcome
from jobs.stage_metrics import StageMetrics


def until(metrics: StageMetrics) -> float | None:
    labels = {"stage": metrics.stage, "modality": metrics.modality}
    return REGISTRY.get_sample_value("phl_stage_taken_in_until_seconds", labels)


def took(messages: int) -> Outcome:
    return Outcome("land", 1, messages, 0.5, {})


def test_what_has_nothing_left_is_up_to_date() -> None:
    metrics = StageMetrics("land", "idle")
    metrics.lag(0, looked_at=100.0)
    assert until(metrics) == 100.0
    metrics.lag(0, looked_at=105.0)
    assert until(metrics) == 105.0


def test_under_steady_traffic_lag_does_not_grow_though_something_is_always_left() -> None:
    metrics = StageMetrics("land", "steady")
    metrics.lag(40, looked_at=0.0)
    for second in range(1, 100):
        metrics.batch(took(40))
        metrics.lag(40, looked_at=float(second))
        assert until(metrics) == second - 1.0


def test_what_falls_behind_is_up_to_date_with_what_it_has_taken_in_since() -> None:
    metrics = StageMetrics("normalise", "behind")
    metrics.lag(100, looked_at=10.0)
    assert until(metrics) is None
    metrics.batch(took(60))
    metrics.lag(90, looked_at=11.0)
    assert until(metrics) is None
    metrics.batch(took(60))
    metrics.lag(80, looked_at=12.0)
    assert until(metrics) == 10.0
    metrics.batch(took(80))
    metrics.lag(0, looked_at=13.0)
    assert until(metrics) == 13.0


def test_modalities_are_told_apart() -> None:
    one, other = StageMetrics("land", "one"), StageMetrics("land", "other")
    one.lag(7, looked_at=1.0)
    other.lag(0, looked_at=1.0)
    for modality, waiting in (("one", 7), ("other", 0)):
        labels = {"stage": "land", "modality": modality}
        assert REGISTRY.get_sample_value("phl_stage_lag_messages", labels) == waiting


def test_the_cost_of_each_step_adds_up_over_batches() -> None:
    metrics = StageMetrics("land", "steps")
    for microseconds in (1_500_000, 500_000):
        metrics.batch(Outcome("land", 1, 10, 0.5, {"step_write": microseconds, "disposition_accepted": 3}))
    labels = {"stage": "land", "modality": "steps", "step": "write"}
    assert REGISTRY.get_sample_value("phl_step_seconds_total", labels) == 2.0
