"""The edit network: scores every edit of a draft in one pass, at the cost of embedding it.

It scores keeping, replacing and deleting every word of the draft, inserting a word into every gap
(cf. Gu et al. 2019, "Levenshtein Transformer"), and which word should follow which. At first it
copies the draft, which a small corrector that writes learns last.

It starts as the embedder (:class:`~nanov2t.models.trunk.Trunk`). Besides the draft's words it reads
their last states and what :mod:`nanov2t.models.dictionary` says of them: the residual, the wanted
state of every place with the words nearest to it, and what a deletion would gain. A word's nearness
to the wanted state is also a term of its logit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanov2t.models.dictionary import FEATURES, Dictionary, Findings, Physics
from nanov2t.models.trunk import NetworkShape, Trunk, attention_mask

KEEP, REPLACE, DELETE = 0, 1, 2
TARGET_TOKENS, DIFFERENCE_TOKENS, MISSING_TOKENS = 3, 2, 4
"""Prefix positions: the target vector, its difference from the draft's, and the likeliest words to
insert."""
FOLLOWING = 96  # dimensions in which followers are compared
NEVER = -1e4  # logit of the impossible
REACH = 6  # tokens beyond which the distance of two tokens does not matter


class Edits(NamedTuple):
    """Log odds, in nats, of every edit of n drafts of t tokens, two special ones among them."""

    states: Tensor  # [n, t, hidden]
    gaps: Tensor  # [n, t - 1, 2 hidden], between tokens i and i + 1
    findings: Findings
    action: Tensor  # float32 [n, t, 3]: logits of KEEP, REPLACE and DELETE
    insertion: Tensor  # float32 [n, t - 1, 2]: logits of no word missing and of a word missing
    order: Tensor  # float32 [n, t, t]: log probabilities of the tokens that may follow each token


class EditNetwork(nn.Module):
    """See the module. It needs the dictionary that it was trained with, which is not saved with
    it."""

    def __init__(self, config: NetworkShape):
        super().__init__()
        self.config = config
        trunk, width = config.trunk, config.trunk.hidden
        self.trunk = Trunk(trunk)
        self.physics = Physics()
        self.target = nn.Linear(config.dim, TARGET_TOKENS * width)
        self.difference = nn.Linear(width + config.dim + 2, DIFFERENCE_TOKENS * width)
        self.missing = nn.Linear(width, width)
        self.prefix_norm = nn.LayerNorm(width)
        self.read_state = nn.Linear(width, width)
        self.read_wanted = nn.Linear(width, width, bias=False)
        self.read_residual = nn.Linear(width, width, bias=False)
        self.read_product = nn.Linear(width, width, bias=False)
        self.read_nearest = nn.Linear(width, width, bias=False)
        self.read_features = nn.Linear(FEATURES, width)
        self.action = _classifier(width, width, [1.0, 0.0, -1.0])
        self.insertion = _classifier(2 * width, width, [1.0, -1.0])
        self.order = OrderHead(width)
        self.replaced = WordHead(width, width)
        self.inserted = WordHead(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(trunk.vocabulary))
        self.scale = nn.Parameter(torch.tensor(0.2))
        for reader in (self.read_state, self.read_wanted, self.read_residual, self.read_product):
            nn.init.normal_(reader.weight, 0, 0.01)
        self.read_nearest.weight.data.copy_(0.3 * torch.eye(width))
        nn.init.normal_(self.read_features.weight, 0, 0.1)

    unique_weights = nn.Module.state_dict  # none is shared

    def read_dictionary(self, dictionary: Dictionary, dtype: torch.dtype | None = None) -> None:
        """Take the dictionary. Products over the vocabulary are made in `dtype`, by default that of
        the weights."""
        self.physics.read(dictionary, self.config.trunk.special, dtype or self.bias.dtype)

    def forward(
        self, targets: Tensor, ids: Tensor, states: Tensor, vectors: Tensor, mask: Tensor
    ) -> Edits:
        """Score the edits of n drafts, given as in :meth:`Physics.forward
        <nanov2t.models.dictionary.Physics.forward>` and by their unit vectors, float32 [n, dim]."""
        dtype = self.target.weight.dtype
        found = self.physics(targets, ids, states, mask)
        prefix = self._prefix(targets, vectors, found)
        width = self.config.trunk.hidden
        residual = _unit(found.residual)[:, None]
        product = _unit(found.own) * residual / width**0.5
        words = self.trunk.words[found.nearest]  # [n, t, NEAREST, hidden]
        nearest = (words * found.share[..., None].to(dtype)).sum(2)
        x = (
            self.trunk.embed(ids)
            + self.read_state(states.to(dtype))
            + self.read_wanted(_unit(found.wanted).to(dtype))
            + self.read_residual(residual.to(dtype))
            + self.read_product(product.to(dtype))
            + self.read_nearest(nearest * 8)
            + self.read_features(found.features().to(dtype))
        )
        seen = torch.cat([mask.new_ones(len(mask), prefix.shape[1]), mask], 1)
        x = self.trunk(torch.cat([prefix, x], 1), attention_mask(seen, dtype))
        x = x[:, prefix.shape[1] :]
        gaps = torch.cat([x[:, :-1], x[:, 1:]], -1)
        action, insertion = self.action(x).float(), self.insertion(gaps).float()
        return Edits(x, gaps, found, action, insertion, self.order(x, mask))

    def _prefix(self, targets: Tensor, vectors: Tensor, found: Findings) -> Tensor:
        """[n, TARGET_TOKENS + DIFFERENCE_TOKENS + MISSING_TOKENS, hidden]."""
        n, width, dtype = len(targets), self.config.trunk.hidden, self.target.weight.dtype
        difference = targets - vectors
        length = difference.norm(dim=1, keepdim=True)
        size = (found.residual.norm(dim=1, keepdim=True) + 1).log()
        scale = self.config.dim**0.5
        direction = difference / (length + 1e-3) * scale
        facts = torch.cat([_unit(found.residual), direction, size, (length + 1e-3).log()], 1)
        words = self.trunk.words[found.inserted[:, :MISSING_TOKENS]]
        parts = [
            self.target((targets * scale).to(dtype)).view(n, TARGET_TOKENS, width),
            self.difference(facts.to(dtype)).view(n, DIFFERENCE_TOKENS, width),
            self.missing(words) + words * 8,
        ]
        prefix: Tensor = self.prefix_norm(torch.cat(parts, 1))
        return prefix

    def replacements(
        self, edits: Edits, rows: Tensor, places: Tensor, words: Tensor | None = None
    ) -> Tensor:
        """Logits, float32 [m, words or vocabulary], of the words that replace those at m places;
        rows and places are long [m]."""
        found = edits.findings
        given = (edits.states[rows, places], found.wanted[rows, places], found.precision[rows])
        return self._words(self.replaced, *given, words)

    def insertions(
        self, edits: Edits, rows: Tensor, gaps: Tensor, words: Tensor | None = None
    ) -> Tensor:
        """Logits, float32 [m, words or vocabulary], of the words that are missing in m gaps."""
        found = edits.findings
        given = (edits.gaps[rows, gaps], found.missing[rows], found.precision[rows])
        return self._words(self.inserted, *given, words)

    def _words(
        self, head: WordHead, x: Tensor, wanted: Tensor, precision: Tensor, words: Tensor | None
    ) -> Tensor:
        physics = self.physics
        tables = (self.trunk.words, physics.entries, physics.half_squares, self.bias)
        embeddings, entries, half_squares, bias = (
            table if words is None else table[words] for table in tables
        )
        language, state, trust = head(x)
        trust = trust * precision[:, None]
        state = (state + trust * wanted).to(entries.dtype)
        near: Tensor = F.linear(state, entries).float() - trust * half_squares
        logits: Tensor = near + F.linear(language * self.scale, embeddings, bias)
        return logits


class WordHead(nn.Module):
    """The word wanted at a place, in the space of the embedder's input words and in that of its
    states, and how far to trust the wanted state."""

    def __init__(self, wide: int, width: int):
        super().__init__()
        self.language = nn.Linear(wide, width)
        self.norm = nn.LayerNorm(width)
        self.state = nn.Linear(wide, width + 1)
        nn.init.normal_(self.state.weight, 0, 0.005)
        nn.init.zeros_(self.state.bias)
        self.state.bias.data[-1] = -1.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[m, wide] to [m, width], float32 [m, width] and float32 [m, 1]."""
        language = self.norm(F.gelu(self.language(x)))
        state = self.state(x).float()
        return language, state[:, :-1], F.softplus(state[:, -1:])


class OrderHead(nn.Module):
    """Which token should follow which."""

    def __init__(self, width: int):
        super().__init__()
        self.before = nn.Linear(width, FOLLOWING)
        self.behind = nn.Linear(width, FOLLOWING, bias=False)  # a bias would move a whole row
        self.distance = nn.Parameter(torch.zeros(2 * REACH + 1))
        self.distance.data[REACH + 1] = 2.0

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[n, t, width] and bool [n, t] to float32 [n, t, t]: see :class:`Edits`."""
        before, behind = self.before(x).float(), self.behind(x).float()
        places = torch.arange(x.shape[1], device=x.device)
        apart = (places - places[:, None]).clamp(-REACH, REACH) + REACH
        logits = before @ behind.transpose(1, 2) * (2 / FOLLOWING**0.5)
        logits = logits + self.distance.float()[apart]
        barred = ~mask[:, None] | (places == places[:, None]) | (places == 0)
        order: Tensor = logits.masked_fill(barred, NEVER).log_softmax(-1)
        return order


def _classifier(wide: int, width: int, start: list[float]) -> nn.Sequential:
    last = nn.Linear(width, len(start))
    last.bias.data.copy_(torch.tensor(start))
    return nn.Sequential(nn.Linear(wide, width), nn.GELU(), last)


def _unit(x: Tensor) -> Tensor:
    """Vectors [..., d] scaled to length sqrt(d)."""
    unit: Tensor = x / (x.norm(dim=-1, keepdim=True) + 1e-6) * x.shape[-1] ** 0.5
    return unit
