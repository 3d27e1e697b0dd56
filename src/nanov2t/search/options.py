"""The options of a search. Free of torch, since the command line shows them."""

from __future__ import annotations

from typing import Literal

ROUNDS, BEAM = 6, 8
"""The default search: corrections at most, and the size of the sequence beam."""

SearchName = Literal["default", "exhaustive"]
