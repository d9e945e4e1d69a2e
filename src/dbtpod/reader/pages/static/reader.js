// What a page cannot do without a script: charts, and copying. Every page is whole without it.
"use strict";

const CHART_HEIGHT = 210;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function seconds(value) {
  if (value == null) return "-";
  if (value >= 5400) return (value / 3600).toFixed(1) + " h";
  if (value >= 90) return (value / 60).toFixed(value >= 600 ? 0 : 1) + " min";
  return (value >= 10 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(2)) + " s";
}

// As people everywhere read it: 24 hours, and the date where a day begins.
function written(time, step) {
  const text = new Date(time * 1000).toISOString();
  const date = text.slice(5, 10);
  if (step >= 86400) return date;
  return text.slice(11, 16) === "00:00" ? date : text.slice(11, 16);
}

function count(value) {
  return value == null ? "-" : value.toLocaleString("en");
}

function draw(figure, data) {
  const asText = data.unit === "seconds" ? seconds : count;
  const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, \"DejaVu Sans\", sans-serif" };
  const series = data.lines.map((line) => {
    const stroke = colour(line.tone);
    const bad = line.tone === "bad";
    return {
      label: line.label, stroke, width: 1.5, spanGaps: true, value: (chart, value) => asText(value),
      paths: bad ? () => null : line.steps ? uPlot.paths.stepped({ align: 1 }) : undefined,
      fill: line.steps ? stroke + "22" : undefined,
      points: { show: bad || data.times.length < 60, size: bad ? 8 : 5, fill: bad ? stroke : colour("surface"), stroke },
    };
  });
  let chart;
  chart = new uPlot({
    width: figure.clientWidth, height: CHART_HEIGHT,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { drag: { x: true, y: false }, points: { size: 7 } },
    scales: { y: { range: (chart, low, high) => [data.unit === "seconds" ? 0 : low - (high - low || 1) * 0.15, (high || 1) * (data.unit === "seconds" ? 1.1 : 1) + (data.unit === "seconds" ? 0 : (high - low || 1) * 0.15)] } },
    axes: [{ ...axis, values: (chart, times, index, space, step) => times.map((time) => written(time, step)) }, { ...axis, size: 62, values: (chart, values) => values.map((value) => asText(data.unit === "count" ? Math.round(value) : value)) }],
    series: [{ label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series],
  }, [data.times, ...data.lines.map((line) => line.values)], figure);
  const base = figure.dataset.links;
  if (base && data.links.length) {
    figure.classList.add("clickable");
    let down = null;
    chart.over.addEventListener("mousedown", (event) => { down = event.clientX; });
    // A drag zooms; a click opens the run.
    chart.over.addEventListener("click", (event) => {
      const chosen = data.links[chart.cursor.idx];
      if (chosen && down !== null && Math.abs(event.clientX - down) < 4) location.href = base + encodeURIComponent(chosen);
    });
  }
  return chart;
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  let chart = draw(figure, data);
  new ResizeObserver(() => chart.setSize({ width: figure.clientWidth, height: CHART_HEIGHT })).observe(figure);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    chart.destroy();
    chart = draw(figure, data);
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      // Not there over plain HTTP, but at localhost.
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = document.execCommand("copy") ? "Copied" : "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// The browser's own refresh does nothing where the address has a part after #.
const refresh = document.querySelector("meta[http-equiv=refresh]");
if (refresh && location.hash) setTimeout(() => location.reload(), refresh.content * 1000);

// Choosing is enough; without a script there is the button.
for (const select of document.querySelectorAll(".search select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
