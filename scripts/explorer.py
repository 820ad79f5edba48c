"""Build the explorer's page: `python scripts/explorer.py`; with `--check` only say whether it is what its sources make.

The sources are in `explorer/` (TypeScript, built by Vite; Node 20 and npm). The bundle ships with the package, so that
nobody who uses or tests it needs npm: `bundle.json` beside it holds the hashes of what it was built from and of what
came out, which a test compares. Where npm is at hand, `--check` builds it once more and compares every byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "explorer"
STATIC = ROOT / "src" / "theodolite" / "explorer" / "static"
BUILT = ("explorer.js", "explorer.css", "LICENCES.txt")
MANIFEST = "bundle.json"
_OF_THE_BUILD = ("package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", ".npmrc", ".prettierrc.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if not parser.parse_args().check:
        build(STATIC)
        (STATIC / MANIFEST).write_text(json.dumps(manifest(STATIC), indent=1) + "\n")
        return 0
    stale = stale_parts()
    if not stale and shutil.which("npm"):
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            stale = [name for name in BUILT if (Path(folder) / name).read_bytes() != (STATIC / name).read_bytes()]
    for name in stale:
        print(f"{name} is not what the sources make; run python scripts/explorer.py")
    return int(bool(stale))


def build(folder: Path) -> None:
    """Check layout and types, bundle, and list the licences of what is bundled."""
    for command in ("npm ci", "npx prettier --check src", "npx tsc --noEmit", "npx vite build --outDir"):
        parts = command.split()
        subprocess.run([*parts, str(folder)] if parts[-1] == "--outDir" else parts, cwd=SOURCES, check=True)
    (folder / "LICENCES.txt").write_text(licences())


def licences() -> str:
    """The licences of the packages whose code is in the bundle: the direct dependencies, which have none themselves."""
    parts = ["The page contains code of these packages."]
    for name in json.loads((SOURCES / "package.json").read_text())["dependencies"]:
        package = SOURCES / "node_modules" / name
        about = json.loads((package / "package.json").read_text())
        if about.get("dependencies"):
            raise SystemExit(f"{name} depends on {', '.join(about['dependencies'])}: list their licences too")
        text = next(path for path in sorted(package.iterdir()) if path.name.upper().startswith("LICENSE")).read_text()
        parts.append(f"{name} {about['version']} ({about['license']})\n\n{text.strip()}")
    return "\n\n----\n\n".join(parts) + "\n"


def manifest(folder: Path) -> dict[str, str]:
    """Hashes of the sources, and of every built file."""
    return {"sources": sources_hash(), **{name: _hash([folder / name]) for name in BUILT}}


def sources_hash() -> str:
    """One hash of everything that the build reads, names included."""
    paths = [*(SOURCES / name for name in _OF_THE_BUILD), *sorted((SOURCES / "src").rglob("*"))]
    return _hash([path for path in paths if path.is_file()])


def stale_parts() -> list[str]:
    """What differs from the hashes that were written when the bundle was built."""
    recorded = json.loads((STATIC / MANIFEST).read_text())
    return [name for name, value in manifest(STATIC).items() if recorded.get(name) != value]


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
