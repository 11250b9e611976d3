// What htmx does not do: colours, times in the viewer's zone, live parts, selecting rows, shortcuts.
(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within = document) => within.querySelectorAll(selector);

  // Light and dark.
  for (const button of all("[data-theme-toggle]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
      document.dispatchEvent(new CustomEvent("theme"));
    });
  }

  // Times come in UTC; they are shown in the viewer's zone, and how long ago goes on counting.
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function ago(date) {
    const passed = (Date.now() - date) / 1000;
    for (const [seconds, name] of units) {
      if (Math.abs(passed) >= seconds) {
        const text = `${Math.floor(Math.abs(passed) / seconds)} ${name}`;
        return passed > 0 ? `${text} ago` : `in ${text}`;
      }
    }
    return "now";
  }
  const two = (n) => String(n).padStart(2, "0");
  function localTimes(within = document) {
    for (const element of all("time[datetime]", within)) {
      const date = new Date(element.getAttribute("datetime"));
      if (Number.isNaN(+date)) continue;
      const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
      const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
      const exact = `${clock}:${two(date.getSeconds())}`;
      const text = element.classList.contains("ago") ? ago(date) : "clock" in element.dataset ? exact : `${day} ${clock}`;
      if (element.textContent !== text) element.textContent = text;
      element.title = `${day} ${clock}:${two(date.getSeconds())} (${date.toISOString()})`;
    }
  }

  // Live parts: an element with data-live="URL of a stream of events" fetches itself again after an event,
  // at most once a second. htmx does the fetching: the element has hx-trigger="live". Parts of one page
  // that listen to the same URL share a connection; the browser sends Last-Event-ID when it reconnects. A page
  // that nobody sees listens to nothing: a browser has six connections to a server, for all of its tabs.
  const streams = new Map();
  function connect() {
    const parts = document.hidden ? [] : [...all("[data-live]")];
    const wanted = new Set(parts.map((element) => element.dataset.live));
    for (const [url, stream] of streams) {
      if (!wanted.has(url)) { stream.close(); streams.delete(url); }
    }
    for (const url of wanted) if (!streams.has(url)) streams.set(url, listen(url));
  }
  function refresh(url) {
    for (const element of all("[data-live]")) {
      // What somebody is working on is left alone.
      if (element.dataset.live === url && !element.querySelector("select:focus, input:not([type=checkbox]):focus")) {
        htmx.trigger(element, "live");
      }
    }
  }
  document.addEventListener("visibilitychange", () => {
    connect();
    for (const url of streams.keys()) refresh(url); // what has happened meanwhile
  });
  function listen(url) {
    const source = new EventSource(url);
    let due = 0;
    const changed = () => {
      if (due) return;
      due = setTimeout(() => { due = 0; refresh(url); }, 1000);
    };
    const names = ["job:scheduled", "job:started", "job:completed", "job:cancelled", "job:deleted", "counters",
      "periodic:started", "periodic:skipped", "periodic:missed", "periodic:failed", "project:version",
      "project:deployed", "project:renamed", "project:settings", "project:setting_removed", "member:added",
      "member:removed", "job:killed", "job:priority", "job:tagged", "key:created", "key:rotated", "key:revoked",
      "key:password", "key:password_removed", "webhook:created", "webhook:changed", "webhook:deleted",
      "webhook:enabled", "webhook:disabled", "changed"];
    for (const name of names) source.addEventListener(name, changed);
    // The stream begins now, the page is older: what happened between them comes with the next fetch.
    source.onopen = () => { root.classList.remove("offline"); changed(); };
    source.onerror = () => root.classList.add("offline");
    return source;
  }

  // Rows that are selected: how many, and what can be done with them.
  function count(form) {
    const chosen = [...form.elements].filter((box) => box.name === "job" && box.checked).length;
    const bar = document.querySelector("[data-bulk]");
    if (!bar) return;
    bar.classList.toggle("active", chosen > 0);
    const text = bar.querySelector("[data-chosen]");
    if (text) text.textContent = chosen ? `${chosen} selected` : "Select jobs to do something with them";
  }
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (box.matches("[data-all]")) {
      for (const each of all("input[name=job]", box.closest("table"))) each.checked = box.checked;
    }
    const form = box.form;
    if (form && form.matches("[data-select]")) count(form);
    if (box.matches("[data-submit]")) {
      // By keyboard each step is a change: only the last one counts.
      clearTimeout(box.form.due);
      box.form.due = setTimeout(() => box.form.requestSubmit(), 700);
    }
  });

  // A search field that narrows a list of choices.
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.dataset.narrow) return;
    for (const label of all("label", document.querySelector(field.dataset.narrow))) {
      label.hidden = !label.textContent.toLowerCase().includes(field.value.toLowerCase());
    }
    event.stopPropagation();
  }, true);

  // A part that cannot fetch itself stays as it is, and the page says so.
  document.addEventListener("htmx:before:response", (event) => {
    const { raw, status } = event.detail.ctx.response;
    const bad = raw.redirected || (status >= 400 && event.target.matches("[hx-get]"));
    const lost = document.querySelector("#lost");
    lost.hidden = !bad;
    root.classList.toggle("offline", bad);
    if (!bad) return;
    event.preventDefault();
    lost.querySelector("span").textContent = raw.redirected ? "You have been signed out." : "The page cannot refresh itself.";
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.querySelector(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });

  // Keys: / filter, x select, l log, ? help.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const row = document.activeElement && document.activeElement.closest("tr[data-row]");
    if (event.key === "/") {
      const first = document.querySelector("[data-filter] input, [data-filter] select");
      if (first) { first.closest("details")?.setAttribute("open", ""); first.focus(); event.preventDefault(); }
    } else if (event.key === "j" || event.key === "k") {
      const rows = [...all("tr[data-row]")];
      const next = rows[rows.indexOf(row) + (event.key === "j" ? 1 : -1)] || (row ? null : rows[0]);
      if (next) next.querySelector("a").focus();
    } else if (row && event.key === "x") {
      row.querySelector("input[name=job]")?.click();
    } else if (row && event.key === "l") {
      location.href = `${row.querySelector("a").href}/log`;
    } else if (event.key === "?") {
      document.querySelector("#keys")?.showModal?.();
    }
  });

  function settle() {
    localTimes();
    connect();
    for (const form of all("form[data-select]")) count(form);
    for (const element of all("[data-needs-script]")) element.hidden = false;
  }
  document.addEventListener("htmx:after:swap", settle);
  document.addEventListener("htmx:after:settle", settle);
  setInterval(localTimes, 5000);
  for (const here of all(".menu [aria-current], .tabs [aria-current]")) {
    here.scrollIntoView({ block: "nearest", inline: "center" });
  }
  settle();
})();
