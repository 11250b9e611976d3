// The charts of a job: one to a figure, with a shared cursor; colours from the style sheet; live while it runs.
(() => {
  "use strict";
  const box = document.querySelector("#charts");
  if (!box) return;
  const POLL = 5000;
  const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];
  const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024, 2048, 5120, 10240, 51200].map((mb) => mb * 1048576);
  const figures = [...box.querySelectorAll("[data-chart]")];
  const charts = new Map();
  let data = null;
  let shown = -1;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const two = (n) => String(n).padStart(2, "0");
  const clock = (s) => { const d = new Date(s * 1000); return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`; };
  function size(bytes) {
    if (bytes === null || bytes === undefined) return "–";
    const units = ["B", "KB", "MB", "GB"];
    let unit = 0;
    while (bytes >= 1024 && unit < 3) { bytes /= 1024; unit += 1; }
    return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
  }
  const rate = (value) => (value === null || value === undefined ? "–" : value > 0 && value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en").replaceAll(",", "\u202f"));

  // Two points make a line.
  const drawable = (each, name) => each[name].length > 1 && each[name].some((value) => value !== null);

  function times(chart, ticks) {
    const span = chart.scales.x.max - chart.scales.x.min;
    const exact = ticks.some((tick) => tick % 60);
    return ticks.map((tick) => {
      const d = new Date(tick * 1000);
      if (span > 2 * 86400) return `${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:00`;
      return exact ? clock(tick) : clock(tick).slice(0, 5);
    });
  }

  function tell(figure, index) {
    const values = data[figure.dataset.chart];
    const time = data.time[index];
    const text = time === undefined ? "" : figure.dataset.chart === "memory" ? size(values[index]) : rate(values[index]);
    figure.querySelector("output").textContent = text && `${text} at ${clock(time / 1000)}`;
  }

  function make(figure) {
    const name = figure.dataset.chart;
    const plot = figure.querySelector(".plot");
    const nothing = !drawable(data, name);
    const over = data.state === "finished";
    figure.classList.toggle("nothing", nothing);
    plot.textContent = !nothing ? "" : !over ? "No figures yet" : data.time.length ? "Too short to draw" : "No figures";
    if (nothing) return;
    const line = colour(name);
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const values = name === "memory" ? (_, ticks) => ticks.map(size) : (_, ticks) => ticks.map(rate);
    const options = {
      width: plot.clientWidth || 300, height: 150,
      legend: { show: false },
      cursor: { sync: { key: "job" }, y: false, points: { size: 7, fill: line } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, space: 80, size: 26, gap: 6, incrs: SECONDS, values: times }, { ...axis, size: 62, space: 34, values, ...(name === "memory" ? { incrs: STEPS } : {}) }],
      series: [{}, { stroke: line, width: 2, fill: `${line}24`, spanGaps: true, points: { show: data.time.length < 25, size: 5, fill: line } }],
      hooks: { setCursor: [(chart) => { shown = chart.cursor.idx ?? -1; tell(figure, shown < 0 ? undefined : shown); }] },
    };
    const chart = new uPlot(options, [data.time.map((t) => t / 1000), data[name]], plot);
    charts.set(figure, chart);
  }

  function draw() {
    for (const chart of charts.values()) chart.destroy();
    charts.clear();
    box.hidden = false;
    for (const figure of figures) make(figure);
  }

  function update() {
    for (const [figure, chart] of charts) chart.setData([data.time.map((t) => t / 1000), data[figure.dataset.chart]]);
  }

  async function load() {
    const answer = await fetch(box.dataset.series, { credentials: "same-origin" });
    if (!answer.ok) return;
    const before = data;
    data = await answer.json();
    // A chart that was empty, or has become dense, is made anew.
    const kind = (each) => `${each.time.length < 25} ${figures.map((f) => drawable(each, f.dataset.chart))}`;
    if (before && kind(before) === kind(data)) update(); else draw();
    if (data.state === "pending" || data.state === "running") setTimeout(again, POLL);
  }
  function again() {
    if (document.hidden) document.addEventListener("visibilitychange", again, { once: true });
    else load().catch(() => setTimeout(again, POLL));
  }

  new ResizeObserver(() => {
    for (const [figure, chart] of charts) {
      const width = figure.querySelector(".plot").clientWidth;
      if (width && width !== chart.width) chart.setSize({ width, height: chart.height });
    }
  }).observe(box);
  document.addEventListener("theme", () => data && draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());
  load().catch(() => setTimeout(again, POLL));
})();
