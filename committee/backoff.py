"""The one rule by which pauses between tries grow; each caller has its own limits (`docs/limits.md`)."""

from __future__ import annotations


def next_pause_s(last_s: float, first_s: float, longest_s: float, growth: float = 2.0) -> float:
    """Return the pause that follows one of `last_s` seconds, 0 for none: `growth` times as long.

    It is `first_s` at least and `longest_s` at most, both in seconds.
    """
    return min(max(first_s, growth * last_s), longest_s)
