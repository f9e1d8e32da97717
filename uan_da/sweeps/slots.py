"""Which device takes the next run: as many at once as were asked for, and as fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from uan_da.sweeps.memory import HOST

FIRST_GUESS = 1536 * 1024**2
"""Bytes of the host that a run is held to take while none has told."""
MARGIN = 1.2
"""A run may come to take more than those before it, by this factor."""


@dataclass
class Slots:
    """Runs on their devices.

    A run fits beside others where the device's memory, and the host's, hold as many of the largest run seen so far. Of
    a device's memory nothing is known before its first run tells; until then it has no second one.
    """

    devices: Sequence[str]
    jobs: int
    capacity: dict[str, int]
    """Bytes by device, and of the host."""
    running: dict[str, str] = field(default_factory=dict)
    """Address → device."""
    largest: dict[str, int] = field(default_factory=dict)

    def device(self) -> str | None:
        """For one more run; None if it has to wait."""
        if len(self.running) >= self.jobs:
            return None
        load = {device: list(self.running.values()).count(device) for device in self.devices}
        chosen = min(self.devices, key=lambda device: load[device])
        return chosen if self._fits(HOST, len(self.running)) and self._fits(chosen, load[chosen]) else None

    def saw(self, peak: Mapping[str, int], free: Mapping[str, int]) -> None:
        """What a run told of itself."""
        for place, size in peak.items():
            self.largest[place] = max(size, self.largest.get(place, 0))
        for place, size in free.items():
            self.capacity.setdefault(place, size)

    def _fits(self, place: str, load: int) -> bool:
        if load == 0 or place == "cpu" or place == "mps":  # their memory is the host's
            return True
        size = self.largest.get(place, FIRST_GUESS if place == HOST else None)
        return size is not None and place in self.capacity and (load + 1) * size * MARGIN <= self.capacity[place]
