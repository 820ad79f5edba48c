"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const onTheCard = read("on-the-card");
  const card = document.getElementById("card");
  const touch = matchMedia("(pointer: coarse)").matches;
  const drawn = new Map();
  const onScreen = new Set();

  const config = { responsive: true, displayModeBar: false, displaylogo: false, showTips: false, doubleClick: "reset" };
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? onScreen.add(entry.target) : onScreen.delete(entry.target);
  });

  /* Where each sample's mark is in a figure: points carry customdata, lines carry meta. */
  function marks(figure) {
    const found = new Map();
    for (const trace of figure.data) {
      if (trace.customdata) trace.customdata.forEach((sample, i) => found.set(sample, { x: [trace.x[i]], y: [trace.y[i]] }));
      else if (trace.meta) found.set(trace.meta.sample, { x: trace.x, y: trace.y, line: true });
    }
    return found;
  }

  function draw(plot) {
    if (drawn.has(plot) || plot.offsetWidth === 0) return;
    const figure = figures[plot.id.replace("figure-", "")];
    const still = touch || plot.classList.contains("small-plot");
    figure.layout.dragmode = still ? false : "zoom";
    const highlight = figure.layout.meta && figure.layout.meta.highlight;
    drawn.set(plot, { marks: highlight === undefined ? new Map() : marks(figure), trace: highlight });
    Plotly.newPlot(plot, figure.data, figure.layout, config);
    watcher.observe(plot);
    const look = (event) => {
      const point = event.points[0];
      const sample = point.customdata ?? (point.data.meta && point.data.meta.sample);
      if (typeof sample === "number") show(sample, event.event, plot);
    };
    if (touch) plot.on("plotly_click", look);
    else {
      plot.on("plotly_hover", look);
      plot.on("plotly_unhover", hide);
    }
  }

  function mark(sample) {
    for (const plot of onScreen) {
      const { marks: known, trace } = drawn.get(plot);
      if (trace === undefined) continue;
      const found = known.get(sample);
      const style = found && found.line && rowOf(sample) ? { "line.color": toneOf(sample) } : {};
      Plotly.restyle(plot, { x: [found ? found.x : []], y: [found ? found.y : []], ...style }, [trace]);
    }
  }

  const rowOf = (sample) => document.querySelector(`table[data-linked] tr[data-sample="${sample}"]`);
  const toneOf = (sample) => rowOf(sample).style.getPropertyValue("--tone");
  let shown;

  /* The card is put together from the sample's row in the table, so that every number is written once. */
  function show(sample, event, plot) {
    const row = rowOf(sample);
    if (!row) return;
    const own = plot && plot.dataset.of;
    const names = own ? [own, ...onTheCard.filter((name) => name !== own)] : onTheCard;
    const title = document.createElement("h4");
    title.textContent = row.querySelector(".file").textContent;
    const list = document.createElement("dl");
    for (const name of names) {
      const line = document.createElement("div");
      const label = document.createElement("dt");
      const value = document.createElement("dd");
      label.innerHTML = document.querySelector(`table[data-linked] th[data-column="${name}"]`).innerHTML;
      value.innerHTML = row.querySelector(`td[data-column="${name}"]`).innerHTML;
      line.append(label, value);
      list.append(line);
    }
    const pair = row.querySelector(".pair");
    card.replaceChildren(...(pair && pair.querySelector("img") ? [pair.cloneNode(true)] : []), title, list);
    card.style.setProperty("--tone", toneOf(sample));
    card.hidden = false;
    place(event);
    if (shown !== sample) mark(sample);
    shown = sample;
  }

  function place(event) {
    const gap = 18;
    const at = event.changedTouches ? event.changedTouches[0] : event;
    const { offsetWidth: width, offsetHeight: height } = card;
    const right = at.clientX + gap + width < innerWidth;
    const x = right ? at.clientX + gap : Math.max(8, at.clientX - gap - width);
    const y = Math.min(Math.max(8, at.clientY - height / 2), Math.max(8, innerHeight - height - 8));
    card.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  function hide() {
    if (shown === undefined) return;
    card.hidden = true;
    shown = undefined;
    mark();
  }

  function sortBy(heading) {
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const direction = heading.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const numeric = heading.classList.contains("n");
    const keyed = [...table.tBodies[0].rows].map((row) => {
      const text = row.cells[column].dataset.value;
      return { row, key: numeric ? parseFloat(text) : text };
    });
    const compare = (a, b) => (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
    const missing = (key) => numeric && Number.isNaN(key);
    keyed.sort((a, b) => missing(a.key) - missing(b.key) || sign * compare(a.key, b.key) || 0);
    table.tBodies[0].append(...keyed.map(({ row }) => row));
  }

  document.querySelectorAll(".plot").forEach(draw);
  document.querySelectorAll("details").forEach((details) =>
    details.addEventListener("toggle", () => details.querySelectorAll(".plot").forEach(draw)));
  document.querySelectorAll("th[aria-sort] button").forEach((button) =>
    button.addEventListener("click", () => sortBy(button.closest("th"))));
  document.querySelectorAll("[data-toggle]").forEach((button) =>
    button.addEventListener("click", () => {
      const on = button.closest("h3").nextElementSibling.querySelector("table").classList.toggle(button.dataset.toggle);
      button.setAttribute("aria-pressed", String(on));
      button.textContent = on ? "Hide variants" : "Show variants";
    }));
  document.querySelectorAll(".strip [data-sample]").forEach((item) => {
    item.addEventListener(touch ? "click" : "pointerenter", (event) => show(Number(item.dataset.sample), event));
    if (!touch) item.addEventListener("pointerleave", hide);
  });
  if (touch) document.addEventListener("click", (event) => event.target.closest(".plot, .strip") || hide());
  document.querySelectorAll("img").forEach((image) => {
    const judge = () => image.naturalWidth < 48 && image.classList.add("pixels");
    image.complete ? judge() : image.addEventListener("load", judge);
  });
  addEventListener("scroll", hide, { passive: true });

  /* Paper has another width than the window: figures are drawn for it and drawn back afterwards. */
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((details) => { details.open = !details.querySelector("table[data-linked]"); });
    document.querySelectorAll(".plot").forEach(draw);
    for (const plot of drawn.keys()) Plotly.relayout(plot, { width: plot.classList.contains("tall") ? 660 : 320, autosize: false });
  });
  addEventListener("afterprint", () => {
    for (const plot of drawn.keys()) Plotly.relayout(plot, { width: null, autosize: true });
  });
})();
