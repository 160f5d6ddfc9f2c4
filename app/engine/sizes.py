"""How many inputs a batch of one backbone is best made of, learnt from the batches that run.

On a CPU more is not always faster: once the activations of a batch outgrow the caches each input takes
longer, for a small image backbone a third longer at 32 than at 4. Where that lies depends on the machine.
"""

from __future__ import annotations

TRIES = 6
"""So many batches of each number are run before the numbers are compared; the first does not count, for it
finds memory that was never touched."""

_AGAIN = 64
"""Each so many batches the next number above or below the best one is run once more: machines change."""

_LEARNING_RATE = 0.15
_ALIKE = 1.01


class Sizes:
    """Numbers from `least` to `most`, each twice the one before. Not thread-safe."""

    def __init__(self, least: int, most: int) -> None:
        self._numbers = [n for n in (least << i for i in range(16)) if n < most] + [most]
        self._costs: dict[int, float] = {}
        self._tries = dict.fromkeys(self._numbers, 0)
        self._batches = 0

    def best(self, waiting: int) -> int:
        """How many of so many that wait to take at most: the number of least cost; all, where a larger one
        would cost less; and now and then another number, to find out."""
        known = [n for n in self._numbers if n <= waiting]
        if not known:
            return self._numbers[0]
        untried = next((n for n in known if self._tries[n] < TRIES), None)
        if untried is not None:
            return untried
        least = min(self._costs[n] for n in known)
        above = self._numbers[len(known) : len(known) + 1]
        if any(self._tries[n] >= TRIES and _ALIKE * self._costs[n] < least for n in above):
            return waiting
        place = next(i for i, n in enumerate(known) if self._costs[n] <= _ALIKE * least)
        turn, again = divmod(self._batches, _AGAIN)
        if not again and len(known) > 1:
            beside = [i for i in (place - 1, place + 1) if 0 <= i < len(known)]
            place = beside[turn % len(beside)]
        return known[place]

    def learn(self, count: int, cost: float) -> None:
        """A batch of `count` inputs took `cost` for each unit of their size."""
        number = max((n for n in self._numbers if n <= count), default=None)
        if number is None:
            return
        self._batches += 1
        self._tries[number] += 1
        before = self._costs.get(number)
        if before is None or self._tries[number] <= 2:
            self._costs[number] = cost
        else:
            self._costs[number] += _LEARNING_RATE * (min(cost, 2 * before) - before)  # a hitch is no price
