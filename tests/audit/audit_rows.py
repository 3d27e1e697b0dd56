"""Rows of a report, and whole reports, without an audit."""

from nanov2t.audit.judging import SCHEMA

MEASURES = ("ndcg@10", "recall@10", "overlap@10")


def figure(value, spread=0.0):
    return {"value": value, "ci95": [value - spread, value + spread]}


def scores(exact, names=None, spread=0.0):
    kinds = {} if names is None else {"names": figure(names) | {"n": 12}}
    found = dict.fromkeys(("bleu", "token_f1", "cosine"), figure(0))
    return found | {"exact_match": figure(exact, spread), "kinds": kinds}


def attacker(name, exact, names=None, spread=0.0, worst=()):
    length = {"tokens": 16, "n": 12, "control": scores(0, names and 0), "worst": list(worst)}
    length |= scores(exact, names, spread) | {"seconds": 3.5, "embedder_calls": 1200}
    return {"name": name, "knows": "something", "lengths": [length]}


def row(defence, ndcg, *attackers):
    utility = dict.fromkeys(MEASURES, figure(ndcg, 0.01))
    named = {"defence": defence, "fingerprint": "" if defence == "none" else "0123abcd"}
    told = figure(99 if defence == "none" else 40, 1) | {"attacker": attackers[0]["name"]}
    named["membership"] = {"membership@0.01fpr": told}
    return named | {"utility": utility, "attackers": list(attackers)}


def report(*rows, **more):
    facts = {"schema": SCHEMA, "version": "1", "date": "2026-01-02T03:04+00:00", "seed": 0}
    facts |= {"texts": 15, "public_texts": 12, "gate": None, "regressions": None}
    facts |= {"train_budget": None, "store": None, "readings": [], "longest": 32}
    facts["membership"] = {"members": 100, "others": 100}
    facts["finding"] = {"severity": "high", "found": "Much <b>.", "advice": "Protect them."}
    facts["embedder"] = {"name": "all-MiniLM-L6-v2", "dim": 384, "fingerprint": "89ab"}
    facts["inverter"] = {"fingerprint": "cdef", "search": "default", "effort": "fast"}
    facts["inverter"] |= {"rounds": None, "beam": 8}
    facts["retrieval"] = {"judgements": "halves", "queries": 12, "documents": 20, "left_out": {}}
    kinds = {"names": {"before": 15, "whole": 12}, "dates": {"before": 4, "whole": 0}}
    sample = {"tokens": 16, "n": 12, "left_out": {"shorter than 16 tokens": 3}, "kinds": kinds}
    facts["samples"] = [sample]
    return facts | {"defences": list(rows)} | more


PLAIN = row("none", 0.8, attacker("unchanged", 90, 90))
DEFENDED = row("bits", 0.7, attacker("unchanged", 1, 8), attacker("informed", 4, 5, spread=2))
