"""Which signed models are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from . import _layout as layout
from ._values import text, unsigned


@dataclass(frozen=True)
class Trust:
    """Which signed models are accepted: `kinglet sign` signs them."""

    key: str
    """Who must have signed: a public key of minisign, all of its file or the line in it that begins
    with RW."""
    model_id: Optional[str] = None
    """Which model it must be; without one, any that the key has signed."""
    least_version: int = 0
    """The oldest version that is accepted: where it is the newest one that was ever used, nobody
    can bring back an older file."""
    skip_weights: bool = False
    """Whether weights are not compared with their checksum, so that opening does not read the whole
    file. Altered weights change what the model says, and nothing else."""

    def to_layout(self) -> layout.Trust:
        """What the library gets; it keeps the texts alive."""
        own = layout.sized(layout.Trust())
        own.key = text(self.key, "the key")
        own.model_id = None if self.model_id is None else text(self.model_id, "the model id")
        own.least_version = unsigned(self.least_version, "the least version", bits=64)
        own.flags = layout.TRUST_SKIP_WEIGHTS if self.skip_weights else 0
        return own
