"""Verdicts as JUnit XML, which CI systems show beside tests."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from theodolite.errors import InputError
from theodolite.files import replacing
from theodolite.gate.checking import Gate
from theodolite.gate.verdict import Verdict

__all__ = ["junit_xml", "write_junit"]

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""


def junit_xml(gate: Gate) -> str:
    """One test case a bound: a failure where it is broken, skipped with the reason where it is undecided."""
    count = {name: sum(v.outcome == name for v in gate.verdicts) for name in ("broken", "undecided")}
    numbers = {"tests": str(len(gate.verdicts)), "failures": str(count["broken"]), "errors": "0"}
    suite = ET.Element("testsuite", {"name": "theodolite gate", **numbers, "skipped": str(count["undecided"])})
    for verdict in gate.verdicts:
        _case(suite, verdict, gate.run.kind)
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def write_junit(gate: Gate, path: Path) -> None:
    """Write `junit_xml` to a file.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(junit_xml(gate), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--junit expected a file to write, got {path} ({error.strerror or error})") from error


def _case(suite: ET.Element, verdict: Verdict, kind: str) -> None:
    own = verdict.evidence
    where = ", ".join(f"{name}={value}" for name, value in verdict.bound.where.items())
    name = ", ".join(part for part in (str(verdict.bound), where, verdict.bound.over if not where else "") if part)
    case = ET.SubElement(suite, "testcase", {"classname": _text(f"theodolite.{kind}"), "name": _text(name)})
    said = (
        f"{own.what or 'number'}: {own.value:.6g}, interval {verdict.low:.6g} to {verdict.high:.6g} at "
        f"{verdict.level:.6g}, status {own.status}"
    )
    if verdict.outcome == "broken":
        ET.SubElement(case, "failure", {"message": _text(f"surely broken: {verdict.bound}")}).text = _text(said)
    elif verdict.outcome == "undecided":
        ET.SubElement(case, "skipped", {"message": _text(f"undecided: {verdict.advice}")}).text = _text(said)
    else:
        ET.SubElement(case, "system-out").text = _text(said)


def _text(text: str) -> str:
    return _NOT_XML.sub("?", text)
