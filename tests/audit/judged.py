"""A folder of queries and judgements in BEIR's format."""

import json

CORPUS = [
    {"_id": "c1", "title": "Clocks", "text": "My father repairs old clocks.", "metadata": {}},
    {"_id": "c2", "title": "", "text": "The ferry to the island leaves at nine."},
    {"_id": "c3", "text": "Salt is brought down from the mountains by mules."},
    {"_id": "c4", "title": "", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "who mends clocks"},
    {"_id": "q2", "text": "when does the boat sail"},
    {"_id": "q3", "text": "never judged"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\tc1\t2\nq2\tc2\t1\nq2\tc3\t0\n"


def beir(folder, corpus=CORPUS, queries=QUERIES, qrels=QRELS):
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder
