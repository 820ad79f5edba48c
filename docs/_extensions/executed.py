"""Tutorials that are executed when the site is built.

On GitHub a tutorial is plain Markdown. In the site, a block of `bash` or `python` after the comment `<!-- run -->` is
executed in a folder of its own, empty at first, where `photos` are the images that ship, and what it prints stands
below. In place of `<!-- figure RUN NAME -->` stands that figure of a run, in place of `<!-- picture FILE: TEXT -->` a
picture that a run wrote. A command that fails ends the build.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import fill
from typing import Any

_MARK = re.compile(
    r"<!-- run -->\n```(?P<language>bash|python)\n(?P<code>.*?)\n```|<!-- figure (?P<run>\S+) (?P<name>\S+) -->"
    r"|<!-- picture (?P<file>[^:]+): (?P<text>.*?) -->",
    re.DOTALL,
)
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)]+)\)")
_COLUMNS = 104
"""Of what commands print: as wide as the theme's column of code."""


class Tutorial:
    """One page while it is executed, in its folder."""

    def __init__(self, folder: Path) -> None:
        from theodolite.zoo import bundled_images

        shutil.rmtree(folder, ignore_errors=True)  # runs of an earlier build would be complete, or of another version
        folder.mkdir(parents=True)
        self.folder, self.names, self.has_figures = folder, {}, False
        (folder / "photos").symlink_to(bundled_images())

    def page(self, text: str) -> str:
        """The page with what its blocks come to."""
        made = _MARK.sub(self._made, text)
        if not self.has_figures:
            return made
        return f'```{{raw}} html\n<script src="_static/plotly.min.js"></script>\n```\n\n{made}'

    def _made(self, match: re.Match[str]) -> str:
        if match["code"] is not None:
            output = (self._command if match["language"] == "bash" else self._python)(match["code"])
            block = f"```{match['language']}\n{match['code']}\n```"
            return f"{block}\n\n```text\n{_wrapped(output)}\n```" if output.strip() else block
        if match["run"] is not None:
            return self._figure(match["run"], match["name"])
        return _raw(_picture(self.folder / match["file"].strip(), match["text"]))

    def _command(self, code: str) -> str:
        words = {"COLUMNS": str(_COLUMNS), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-ec", code], cwd=self.folder, env={**os.environ, **words}, capture_output=True, text=True
        )
        if done.returncode not in (0, 3):  # 3: a gate that is undecided, which is an answer
            raise RuntimeError(f"a tutorial's command failed ({done.returncode}): {code}\n{done.stdout}{done.stderr}")
        return done.stdout

    def _python(self, code: str) -> str:
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(code, "tutorial", "exec"), self.names)
        return printed.getvalue()

    def _figure(self, run: str, name: str) -> str:
        import theodolite

        self.has_figures = True
        figure = theodolite.read_run(self.folder / run).plot(None if name == "first" else name)
        return _raw(figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}))


def _picture(file: Path, text: str) -> str:
    """A picture as large as the page has room for, in whole multiples, since most have few pixels."""
    from PIL import Image

    width, height = Image.open(file).size
    scale = max(1, min(720 // width, 320 // height))
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<img alt="{html.escape(text)}" width="{scale * width}" src="data:image/png;base64,{data}">'


def _wrapped(output: str) -> str:
    """Sentences that are longer than a line of code, in lines; tables stay as they are."""
    lines = output.rstrip().split("\n")
    is_sentence = [len(line) > _COLUMNS and not re.search("  |──", line.strip()) for line in lines]
    return "\n".join(fill(line, _COLUMNS) if long else line for line, long in zip(lines, is_sentence))


def _raw(content: str) -> str:
    return f'```{{raw}} html\n<div class="executed"><div class="plot">{content}</div></div>\n```'


def execute(app: Any, name: str, source: list[str]) -> None:
    """Execute a page that has blocks to run; links out of the docs, which the site does not hold, become names."""
    source[0] = _OUTSIDE.sub(r"\1 (`\2`)", source[0])
    if "<!-- run -->" not in source[0] or app.builder.name == "linkcheck":
        return
    started = time.monotonic()
    folder = Path(app.outdir).parent / "tutorials" / name
    source[0] = Tutorial(folder).page(source[0])
    print(f"executed {name} in {time.monotonic() - started:.0f} s")


def write_plotly(app: Any, error: Exception | None) -> None:
    """The plotting library beside the site, which asks nothing of the network."""
    from plotly.offline import get_plotlyjs

    if error is None:
        (Path(app.outdir) / "_static" / "plotly.min.js").write_text(get_plotlyjs(), "utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Pages are executed as they are read, one after the other: they share the machine."""
    app.connect("source-read", execute)
    app.connect("build-finished", write_plotly)
    return {"parallel_read_safe": False}
