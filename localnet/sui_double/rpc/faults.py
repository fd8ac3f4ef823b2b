"""Faults that a test may give the interface: those of a node that lags, loses answers, or ends streams."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """Faults of the interface; the chain behind it is sound. All may be changed while it serves."""

    is_down: bool = False
    """Every call and every open stream ends with UNAVAILABLE."""
    busy_answers: int = 0
    """Number of calls, from now on, that end with RESOURCE_EXHAUSTED."""
    is_silent: bool = False
    """No call is answered, and none ends by itself."""
    checkpoint_lag: int = 0
    """Newest checkpoints that are not shown yet; transactions in them are shown without a checkpoint."""
    missing_checkpoints: set[int] = field(default_factory=set)
    """Checkpoints that subscriptions leave out; they can be read."""
    stream_length: int | None = None
    """Checkpoints after which a subscription ends with UNAVAILABLE; None for no end."""
    first_checkpoint: int = 0
    """The oldest checkpoint that is kept; older ones, and their transactions, are not found."""
    lost_answers: int = 0
    """Number of transactions, from now on, that are executed and answered with UNAVAILABLE."""
