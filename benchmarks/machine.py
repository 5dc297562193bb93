"""Where and with what a benchmark ran, and how its result is kept."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Machine, versions and command."""
    try:
        import torch

        versions = {"torch": str(torch.__version__)}
        if torch.accelerator.is_available():
            versions["accelerator"] = torch.get_device_module().get_device_name()
            versions["runtime"] = f"cuda {torch.version.cuda}" if torch.version.cuda else f"hip {torch.version.hip}"
    except ModuleNotFoundError:
        versions = {"torch": "none"}
    return {
        "command": " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **versions,
    }


def save(name: str, result: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path
