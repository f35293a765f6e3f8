"""The page's only script of its own: draws the figures, in the colours and proportions of the reader's screen."""

from __future__ import annotations

import json

from search.report import palette

_TEMPLATE = """
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 720px)");
  const touch = window.matchMedia("(pointer: coarse)");
  const colours = COLOURS;
  const translate = (value) => {
    if (typeof value === "string") return dark.matches && colours[value] || value;
    if (Array.isArray(value)) return value.map(translate);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, translate(inner)]));
  };
  const merge = (into, from) => {
    for (const [key, value] of Object.entries(from)) {
      const nested = value !== null && typeof value === "object" && !Array.isArray(value);
      into[key] = nested ? merge({...(into[key] || {})}, value) : value;
    }
    return into;
  };
  const draw = (place) => {
    const source = JSON.parse(place.querySelector("script").textContent);
    const figure = translate(source.figure);
    const layout = narrow.matches ? merge(figure.layout, translate(source.narrow)) : figure.layout;
    if (touch.matches) layout.dragmode = false;
    const plot = place.querySelector(".plot");
    plot.style.height = (layout.height || 420) + "px";
    Plotly.react(plot, figure.data, layout, {
      responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset+autosize",
    });
  };
  const drawAll = () => document.querySelectorAll("[data-figure]").forEach(draw);
  drawAll();
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
})();
"""


def page_script() -> str:
    """The script; it knows each light colour's dark one."""
    colours = {palette.LIGHT[name]: palette.DARK[name] for name in palette.LIGHT}
    return _TEMPLATE.replace("COLOURS", json.dumps(colours))
