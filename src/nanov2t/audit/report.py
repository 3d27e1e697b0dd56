"""What an audit leaves in its folder: report.json for programs, report.html to read and hand on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanov2t.audit.page import page
from nanov2t.core.errors import UserError
from nanov2t.core.files import write_whole


def write_report(out: Path, report: Mapping[str, Any], command: str) -> Path:
    """Write the report into a folder.

    Args:
        report: of :func:`nanov2t.audit.run.audit`, with the gate's verdicts and the regressions.
        command: that makes it again.

    Returns:
        The page.

    Raises:
        UserError: it cannot be written.
    """
    shown = out / "report.html"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / "report.json", (json.dumps(report, indent=1) + "\n").encode())
        write_whole(shown, page(report, command).encode())
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}") from None
    return shown
