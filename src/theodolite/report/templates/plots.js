"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { responsive: true, displayModeBar: false, displaylogo: false, showTips: false, doubleClick: "reset" };
  const touch = matchMedia("(pointer: coarse)").matches;
  const drawn = new Set();

  function draw(plot) {
    if (drawn.has(plot) || plot.offsetWidth === 0) return;
    const figure = figures[plot.id.replace("figure-", "")];
    figure.layout.dragmode = touch ? false : "zoom";
    drawn.add(plot);
    Plotly.newPlot(plot, figure.data, figure.layout, config);
  }

  document.querySelectorAll(".plot").forEach(draw);
  document.querySelectorAll("details").forEach((details) =>
    details.addEventListener("toggle", () => details.querySelectorAll(".plot").forEach(draw)));
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    document.querySelectorAll(".plot").forEach(draw);
    for (const plot of drawn) Plotly.relayout(plot, { width: plot.classList.contains("small-plot") ? 320 : 660, autosize: false });
  });
  addEventListener("afterprint", () => {
    for (const plot of drawn) Plotly.relayout(plot, { width: null, autosize: true });
  });
})();
