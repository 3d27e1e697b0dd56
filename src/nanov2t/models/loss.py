"""Cross entropy over a large vocabulary without ever holding all the logits.

A batch of 2,048 texts of 33 tokens has 8 GB of float32 logits over 30,522 words, and as much again
of gradients. Here a few rows at a time go through the head, their gradients are taken on the spot,
and the logits are dropped.
"""

from __future__ import annotations

import torch

ROWS = {"cpu": 256, "cuda": 16384}
"""Label positions at a time: on a CPU few enough to stay near the cache, on a GPU enough to fill
it."""


class HeadLoss(torch.autograd.Function):
    """Mean cross entropy of ``hidden @ words.T``, plus, with a lexical head, its guess (see
    LexicalHead).

    Args:
        hidden: [n, t, d_model], decoder states, scaled.
        words: [vocabulary, d_model].
        labels: long [n, t], -100 ignored.
        guess: float32 [n, vocabulary], added at every position; None without a lexical head.
        gap: float32 [n, t], added at the positions from i on to the logit of written[:, i].
        written: long [n, t], decoder input ids.
    """

    @staticmethod
    def forward(ctx, hidden, words, labels, guess, gap, written):
        device = hidden.device.type
        kind = (
            torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        )
        low, low_words = hidden.to(kind), words.to(kind)
        known = labels.ge(0)
        weight = known / known.sum()
        t = labels.shape[1]
        until = torch.ones(t, t, device=hidden.device).tril()
        loss = torch.zeros((), device=hidden.device)
        grads = [torch.empty_like(low), torch.zeros_like(words, dtype=torch.float32)]
        if guess is not None:
            grads += [torch.empty_like(guess), torch.empty_like(gap)]
        with torch.autocast(device, enabled=False):
            for part in _slices(len(hidden), max(1, ROWS.get(device, 512) // t)):
                logits = (low[part] @ low_words.T).float()
                if guess is not None:
                    ids = written[part, None, :].expand(-1, t, -1)
                    logits += guess[part, None]
                    logits.scatter_add_(2, ids, gap[part, None] * until)
                target = labels[part].clamp(min=0)[:, :, None]
                # In place, logits become probabilities, then their own gradients: memory traffic
                # bounds this loop.
                logits -= logits.amax(-1, keepdim=True)
                chosen = logits.gather(2, target)
                total = logits.exp_().sum(-1, keepdim=True)
                loss += ((total.log() - chosen)[:, :, 0] * weight[part]).sum()
                share = weight[part, :, None]
                grad = logits.mul_(share / total).scatter_add_(2, target, -share)
                if guess is not None:
                    grads[2][part] = grad.sum(1)
                    grads[3][part] = (grad.gather(2, ids) * until).sum(1)
                flat = grad.to(kind).flatten(0, 1)
                grads[0][part] = (flat @ low_words).view_as(low[part])
                grads[1] += flat.T @ low[part].flatten(0, 1)
        ctx.save_for_backward(*grads)
        ctx.kind = hidden.dtype
        return loss

    @staticmethod
    def backward(ctx, grad_output):
        hidden, words, *lexical = (grad * grad_output for grad in ctx.saved_tensors)
        guess, gap = lexical or (None, None)
        return hidden.to(ctx.kind), words, None, guess, gap, None


def _slices(n: int, size: int):
    return (slice(i, i + size) for i in range(0, n, size))
