"""Broken limits of a gate as SARIF 2.1.0, for code scanning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nanov2t.audit.judging import SEVERITIES, Report, sentence
from nanov2t.core.files import digest

HOME = "https://github.com/nanov2t/nanov2t"


def sarif(report: Report, gate: Path) -> dict[str, Any]:
    """A SARIF log with a result for each broken limit of a report, at its line of the gate."""
    lines = gate.read_text(encoding="utf-8").splitlines()
    where = gate.as_uri() if gate.is_absolute() else quote(gate.as_posix())
    broken = [verdict for verdict in report["gate"] if not verdict["kept"]]
    results = []
    for verdict in broken:
        names = {verdict["limit"], verdict["limit"].partition("@")[0]}
        key = re.compile(rf"""\s*["']?({"|".join(map(re.escape, names))})["']?\s*:""")
        line = next((i for i, text in enumerate(lines, 1) if key.match(text)), 1)
        place = {"artifactLocation": {"uri": where}, "region": {"startLine": line}}
        facts = verdict["defence"], verdict["limit"], verdict["rule"]
        result = {"ruleId": verdict["limit"], "level": verdict["severity"]}
        result |= {"message": {"text": sentence(verdict)}}
        result |= {"locations": [{"physicalLocation": place}]}
        results.append(result | {"partialFingerprints": {"limit/v1": digest(*facts)}})
    rules = {
        x["limit"]: {
            "id": x["limit"],
            "shortDescription": {"text": f"Limit on {x['limit']} of embeddings"},
            "helpUri": f"{HOME}/blob/main/docs/audit.md",
            "properties": {"tags": ["security"], "security-severity": SEVERITIES[x["severity"]]},
        }
        for x in broken
    }
    driver = {"name": "nanov2t", "version": report["version"], "informationUri": HOME}
    run = {"tool": {"driver": driver | {"rules": [*rules.values()]}}, "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return {"$schema": schema, "version": "2.1.0", "runs": [run]}
