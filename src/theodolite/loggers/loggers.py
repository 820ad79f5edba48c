"""One interface over the loggers: scalars, tables, pictures, figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

__all__ = ["FunctionLogger", "Logger", "MediaLogger", "TensorBoardLogger"]


class Logger:
    """Takes what it can, and leaves out the rest.

    Attributes:
        takes_media: whether it takes tables, pictures and figures, so that they are worth making.
    """

    takes_media = False

    def scalars(self, values: Mapping[str, float], step: int | None, counter: str) -> None:
        """Finite numbers by tag.

        Args:
            values: by tag.
            step: of a training; None where there is none.
            counter: the tag under which loggers without named axes get the step.
        """
        raise NotImplementedError

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None) -> None:
        """A table of numbers and texts; None is an empty cell."""

    def image(self, tag: str, image: Path | np.ndarray[Any, Any], caption: str, step: int | None) -> None:
        """A picture: a PNG file, or `(height, width, 3)` of 8 bits."""

    def figure(self, tag: str, figure: Figure, step: int | None) -> None:
        """A Plotly figure."""

    def flush(self) -> None:
        """Write what is buffered."""

    def close(self) -> None:
        """The same, and the end of what was opened by name; a logger that the user opened stays open."""
        self.flush()


class FunctionLogger(Logger):
    """A function of a dict, or the `log` of anything: scalars only."""

    def __init__(self, log: Callable[[dict[str, float]], Any]) -> None:
        self._log = log

    def scalars(self, values: Mapping[str, float], step: int | None, counter: str) -> None:
        """One call with all of them; the step is one more."""
        self._log({**({} if step is None else {counter: step}), **values})


class TensorBoardLogger(Logger):
    """A TensorBoard `SummaryWriter`, or anything with `add_scalar(tag, value, step)`.

    Tables become Markdown (`add_text`), and figures pictures (`theodolite.loggers.raster`), as TensorBoard knows no
    Plotly. What a writer has no method for is left out.

    Args:
        writer: the writer.
        owned: whether it is closed at the end.
    """

    def __init__(self, writer: Any, *, owned: bool = False) -> None:
        self._writer, self._owned = writer, owned
        self.takes_media = hasattr(writer, "add_image")

    def scalars(self, values: Mapping[str, float], step: int | None, counter: str) -> None:
        """One event a number."""
        for tag, value in values.items():
            self._writer.add_scalar(tag, value, step)

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None) -> None:
        """As Markdown, escaped."""
        if hasattr(self._writer, "add_text"):
            self._writer.add_text(tag, _markdown(columns, rows), step)

    def image(self, tag: str, image: Path | np.ndarray[Any, Any], caption: str, step: int | None) -> None:
        """The caption has no place there."""
        import numpy as np
        from PIL import Image

        pixels = np.asarray(Image.open(image).convert("RGB")) if isinstance(image, Path) else image
        self._writer.add_image(tag, pixels, step, dataformats="HWC")

    def figure(self, tag: str, figure: Figure, step: int | None) -> None:
        """As a picture, where matplotlib is installed and can draw it."""
        from theodolite.loggers.raster import pixels_of

        if (pixels := pixels_of(figure)) is not None:
            self._writer.add_image(tag, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """Write what is buffered, where the writer can."""
        if hasattr(self._writer, "flush"):
            self._writer.flush()

    def close(self) -> None:
        """Flush, and close what was opened here."""
        self.flush()
        if self._owned:
            self._writer.close()


class MediaLogger(Logger):
    """W&B or trackio, whose interfaces are one: `log`, `Table`, `Image`, `Plotly`.

    Args:
        package: the module.
        log: takes a dict: the module's own, or a run's.
        finish: ends the run that was opened here.
    """

    takes_media = True

    def __init__(self, package: Any, log: Callable[..., Any], finish: Callable[[], Any] | None = None) -> None:
        self._package, self._log, self._finish = package, log, finish

    def scalars(self, values: Mapping[str, float], step: int | None, counter: str) -> None:
        """One call with all of them; the step is one more, since theirs must not go back."""
        self._log({**({} if step is None else {counter: step}), **values})

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int | None) -> None:
        """Numbers stay numbers, so that the table sorts."""
        self._log({tag: self._package.Table(columns=[*columns], data=[list(row) for row in rows])})

    def image(self, tag: str, image: Path | np.ndarray[Any, Any], caption: str, step: int | None) -> None:
        """With its caption."""
        self._log({tag: self._package.Image(str(image) if isinstance(image, Path) else image, caption=caption)})

    def figure(self, tag: str, figure: Figure, step: int | None) -> None:
        """The interactive figure itself; where their package cannot show one yet (trackio), a picture of it."""
        try:
            self._log({tag: self._package.Plotly(figure)})
        except NotImplementedError:
            from theodolite.loggers.raster import pixels_of

            if (pixels := pixels_of(figure)) is not None:
                self.image(tag, pixels, tag, step)

    def close(self) -> None:
        """End the run, where it was opened here."""
        if self._finish is not None:
            self._finish()


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: Any) -> str:
    from html import escape

    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(" ".join(text.split()), quote=False).replace("|", "&#124;")
