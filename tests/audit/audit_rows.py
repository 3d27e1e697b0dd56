"""Rows of a report, as judging sees them."""

MEASURES = ("ndcg@10", "recall@10", "overlap@10")


def figure(value, spread=0.0):
    return {"value": value, "ci95": [value - spread, value + spread]}


def attacker(name, exact, names=None, spread=0.0):
    kinds = {} if names is None else {"names": figure(names)}
    scores = dict.fromkeys(("bleu", "token_f1", "cosine"), figure(0))
    scores["exact_match"] = figure(exact, spread)
    return {"name": name, "lengths": [{"tokens": 16, "kinds": kinds} | scores]}


def row(defence, ndcg, *attackers):
    utility = dict.fromkeys(MEASURES, figure(ndcg, 0.01))
    return {"defence": defence, "utility": utility, "attackers": list(attackers)}


PLAIN = row("none", 0.8, attacker("unchanged", 90, 90))
DEFENDED = row("bits", 0.7, attacker("unchanged", 1, 8), attacker("informed", 4, 5, spread=2))
