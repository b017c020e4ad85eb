"""Markup of SVG: elements with escaped attributes and texts, and numbers as short as they can be."""

from __future__ import annotations

from html import escape


class Svg(str):
    """Markup that a template puts out as it is: everything in it has been escaped when it was made."""

    __slots__ = ()

    def __html__(self) -> str:
        """What Jinja's autoescaping asks for."""
        return str(self)


def number(value: float, digits: int = 1) -> str:
    """12.30 is "12.3", 12.0 is "12", -0.0 is "0"."""
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, *children: str, text: str | None = None, **attributes: str | float | None) -> Svg:
    """An element. Attributes: `_` becomes `-`, a trailing one is dropped (`class_`), None leaves it out."""
    written = "".join(
        f' {_attribute(key)}="{escape(number(value, 2) if isinstance(value, int | float) else value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children) if text is None else escape(text)
    return Svg(f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>")


def _attribute(key: str) -> str:
    if key in {"viewBox", "preserveAspectRatio"}:
        return key
    return key.rstrip("_").replace("_", "-")


def percent(share: float) -> str:
    """A place in the plot, 0..1, as SVG takes it."""
    return f"{number(100 * share, 2)}%"
