"""How fast the embedded model speaks, and how its words are counted.

The service has no tokenizer: a token here is a short word, a piece of up to six characters of a
longer one, or a sign, with the space before it. On code and English this gives about four
characters a token, as the usual tokenizers do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(?:[^\W_]{1,6}|[^\w\s]{1,2}|_)|\s+")

CALL_OVERHEAD = 6
"""Tokens around each tool call: opening, separators, closing; about what real formats need."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of decoding.

    Attributes:
        first: Seconds until the first token.
        rate: Tokens per second after it.
    """

    first: float = 0.4
    rate: float = 60.0

    def due(self, tokens: int) -> float:
        """Return the seconds from the request until `tokens` tokens have been sent."""
        return self.first + tokens / self.rate


def tokens(text: str) -> list[str]:
    """Cut text into tokens; joined they are the text again."""
    return _TOKEN.findall(text)
