import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanov2t.bulk import BINS, SAMPLES, RunFolder


def test_the_summary_is_that_of_the_rows(tmp_path, capsys):
    cosines = [None, *np.linspace(-0.5, 1, 98), 1.0]
    rows = [
        {
            "id": i,
            "inverted": None if cosine is None else f"text [{i}]",
            "cosine": cosine,
            "stopped": "exact" if cosine == 1 else "rounds",
            "error": "zero" if cosine is None else None,
        }
        for i, cosine in enumerate(cosines)
    ]
    for i, part in enumerate((rows[:64], rows[64:])):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"part-{i:08}.parquet")
    RunFolder(tmp_path, len(rows), {}).show()
    said = capsys.readouterr().out
    assert "100 rows: 2 exact (2.0 %), 1 with a bad vector" in said
    for low, high, count in zip(BINS, BINS[1:], np.histogram(cosines[1:], BINS)[0], strict=False):
        assert re.search(f"^ *{low:g} to {high:g} +{count} ", said, re.MULTILINE)
    samples = re.findall(r"^(\d+)  -?[01]\.\d{4}  (.+)", said, re.MULTILINE)
    assert [int(id_) for id_, _ in samples] == list(range(0, 100, 100 // SAMPLES))
    assert samples[0][1] == "zero" and samples[-1][1] == "text [90]"
