"""How tokens are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

from . import _layout as layout
from ._values import unsigned


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; the steps apply in the order of the fields.

    The default always takes the most probable token.
    """

    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of tokens, of at most 64."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of recent tokens."""
    repetition_window: int = 64
    """Tokens that count as recent."""
    presence_penalty: float = 0.0
    """Subtracted from the logits of tokens that have occurred in the reply."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time that it has occurred in the reply."""
    penalizes_prompt: bool = False
    """Whether these two count what came before the reply, too."""
    temperature: float = 0.0
    """Divides logits; 0 always takes the largest."""
    top_k: int = 0
    """Keeps this many of the most probable tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keeps the most probable tokens up to this sum."""
    min_p: float = 0.0
    """Keeps tokens at least this probable relative to the most probable."""
    seed: int = 0
    """Equal seeds give equal texts."""

    def _to_c(self) -> layout.Sampling:
        """As the library takes it."""
        bias = (layout.LogitBias * len(self.logit_bias))()
        for entry, (token, value) in zip(bias, self.logit_bias.items()):
            entry.token, entry.bias = unsigned(token, "a token"), value
        given = layout.Sampling(
            seed=unsigned(self.seed, "seed", 64),
            repetition_penalty=self.repetition_penalty,
            repetition_window=unsigned(self.repetition_window, "repetition_window"),
            temperature=self.temperature,
            top_k=unsigned(self.top_k, "top_k"),
            top_p=self.top_p,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            penalizes_prompt=bool(self.penalizes_prompt),
            logit_bias=bias,
            logit_bias_count=len(bias),
        )
        return layout.sized(given)
