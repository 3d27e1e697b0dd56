"""What a report found, how grave it is, and what to do: its first paragraph."""

from __future__ import annotations

import numpy as np

from nanov2t.audit.content import KINDS
from nanov2t.audit.figures import share
from nanov2t.audit.judging import Report, best_figures, lengths_of, strongest

PERSONAL = ("names", "emails", "phones")
"""Kinds of content that identify people."""
CLOSE = 0.9
"""Readings with this cosine have much of the text."""
SAFE, USEFUL = 10, 90
"""A defence is worth recommending if at most so many % of texts are read, by the upper end of the
interval, and at least so many % of the quality of search are left."""
DUTIES = (
    "Treat these vectors as you treat the texts: the same access rights, encryption, retention and "
    "deletion. If they have left your control, handle that as a leak of the texts."
)
LOW = (
    "Nothing calls for action now. The figures are a lower bound: audit again with --effort "
    "thorough, and after every change of the embedder or the texts."
)


def finding(report: Report) -> dict[str, str]:
    """The `severity` (critical, high, moderate or low), what was `found`, and what to do
    (`advice`)."""
    of = _of_texts if report["defences"] else _of_readings
    worst, close, kinds, found = of(report)
    personal = {*kinds} & {*PERSONAL}
    severity = "critical" if worst >= 50 else "high" if worst >= 10 or personal else "moderate"
    severity = severity if worst or close or personal else "low"
    advice = (LOW if severity == "low" else DUTIES) + _choice(report)
    return {"severity": severity, "found": found, "advice": advice}


def _of_texts(report: Report) -> tuple[float, bool, list[str], str]:
    """The highest share of texts that were read, whether half of the words were, the kinds of items
    that were, and all that in words."""
    plain, said, worst, words, kinds = report["defences"][0], [], 0.0, 0.0, []
    for n, sample in zip(lengths_of(plain), report["samples"], strict=True):
        exact, f1, *items = (strongest(plain, n, x) for x in ("exact_match", "token_f1", *KINDS))
        assert exact and f1  # scores are of every text
        worst, words = max(worst, exact[1]["value"]), max(words, f1[1]["value"])
        kinds += [kind for kind, x in zip(KINDS, items, strict=True) if x and x[1]["value"]]
        what = "stored texts" if report["store"] else f"texts of {n} tokens"
        said.append(f"{_percent(exact[1])} of {sample['n']} {what}")
    kinds = [kind for kind in KINDS if kind in kinds]
    found = f"Attackers who had only the vectors read {'; '.join(said)} word for word."
    if kinds:
        found += f" Some of these were read completely: {', '.join(kinds)}."
    return worst, words >= 50, kinds, found


def _of_readings(report: Report) -> tuple[float, bool, list[str], str]:
    """The same of a store whose texts are not known."""
    readings = report["readings"]
    close = [reading for reading in readings if reading["cosine"] >= CLOSE]
    kinds = [kind for kind in KINDS if any(reading["kinds"].get(kind) for reading in close)]
    certain = share(np.array([100.0 * reading["certain"] for reading in readings]))
    found = (
        f"From the vectors alone, {_percent(certain)} of {len(readings)} stored texts were read "
        "with certainty: what was read has the stored vector. Readings with a cosine of at least "
        f"{CLOSE:g}: {len(close)}{'; they hold ' * bool(kinds)}{', '.join(kinds)}."
    )
    return certain["value"], bool(close), kinds, found


def _choice(report: Report) -> str:
    """Which of the defences to choose."""
    plain, *defended = report["defences"] or [None]
    if not defended:
        option = "--defence, with --text-column," if report["readings"] else "--defence"
        return f" No defence was tried: {option} measures what one would save and cost."
    good = []
    for row in defended:
        read = max(figure["ci95"][1] for _, _, figure in best_figures(row, "exact_match"))
        whole = plain["utility"]["ndcg@10"]["value"] or 1
        kept = 100 * row["utility"]["ndcg@10"]["value"] / whole
        if read <= SAFE and kept >= USEFUL:
            good.append(
                f"{row['defence']} (at most {read:.0f} % read, {kept:.0f} % of search left)"
            )
    if good:
        return f" These defences protect and keep search working: {', '.join(good)}."
    bounds = f"reading to at most {SAFE} % and {USEFUL} % of search working"
    return f" None of the defences that were tried keeps {bounds}."


def _percent(figure: Report) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.0f} % (95 % interval {low:.0f} to {high:.0f})"
