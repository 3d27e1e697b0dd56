import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from nanov2t.bulk.summary import BINS, SAMPLES, show_summary, summarise


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
    paths = [tmp_path / "part-0.parquet", tmp_path / "part-1.parquet"]
    pq.write_table(pa.Table.from_pylist(rows[:64]), paths[0])
    pq.write_table(pa.Table.from_pylist(rows[64:]), paths[1])
    summary = summarise(paths, len(rows))
    assert (summary.rows, summary.exact, summary.bad) == (100, 2, 1)
    assert summary.histogram.tolist() == np.histogram(cosines[1:], BINS)[0].tolist()
    assert [row["id"] for row in summary.samples] == list(range(0, 100, 100 // SAMPLES))
    show_summary(summary, Console())
    said = capsys.readouterr().out
    assert "100 rows: 2 exact (2.0 %), 1 with a bad vector" in said
    assert "0  0.0000  zero" in said and "text [90]" in said
