"""Prints template.yaml as AWS makes it of SAM's words; run by the interpreter that has SAM.

Reads lists of the parameters' values as JSON from its input, and prints as many templates.
"""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform


class NoPolicies:
    """Stands for the list of AWS's own policies, of which none is used by name."""

    def load(self) -> dict[str, str]:
        """Return nothing."""
        return {}


def main() -> None:
    """Transform it; what `sam package` would have uploaded is said to be somewhere."""
    template: dict[str, Any] = yaml_parse(Path("template.yaml").read_text("utf-8"))
    for resource in template["Resources"].values():
        for key in ("CodeUri", "ContentUri"):
            if key in resource["Properties"]:
                resource["Properties"][key] = "s3://bucket/key"
    made = [
        transform(deepcopy(template), parameters, NoPolicies())
        for parameters in json.load(sys.stdin)
    ]
    json.dump(made, sys.stdout)


main()
