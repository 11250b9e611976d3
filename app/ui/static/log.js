// The log of a job: new lines as they come. Following pauses while the reader looks at something further
// up, and says how many lines have come meanwhile.
(() => {
  "use strict";
  const MOST = 3000; // lines that are kept on the page
  const NEAR = 60; // pixels from the end that still are the end
  const MESSAGE = 400; // characters that are not folded, as on the server
  const LEVELS = [[50, "critical"], [40, "error"], [30, "warning"], [20, "info"], [0, "debug"]];
  const log = document.querySelector("#log");
  const two = (n) => String(n).padStart(2, "0");

  function clock(element) {
    const date = new Date(element.getAttribute("datetime"));
    if (!Number.isNaN(+date)) element.textContent = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  }
  if (!log || !log.dataset.tail) return;

  const state = document.querySelector("#tail-state");
  const words = state.querySelector("[data-words]");
  const button = state.querySelector("[data-go-on]");
  const level = Number(log.dataset.level);
  const text = log.dataset.text.toLowerCase();
  const waiting = [];
  let paused = false;
  let last = null; // what the last line said, to count repeats

  const make = (tag, name, content = "") => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    element.textContent = content;
    return element;
  };

  function line(number, entry) {
    const name = LEVELS.find(([least]) => entry.level >= least)[1];
    const item = make("li", name);
    item.id = `line-${number}`;
    const link = make("a", "number", number);
    link.href = `${location.pathname}?start=${number}#line-${number}`;
    link.setAttribute("aria-label", `Line ${number}`);
    const at = make("span", "at");
    if (entry.time > 0 && entry.time < 2 ** 47) {
      const time = make("time");
      time.setAttribute("datetime", new Date(entry.time).toISOString());
      time.dataset.clock = "";
      time.title = time.getAttribute("datetime");
      clock(time);
      at.append(time);
    }
    const message = make("div", "message");
    let [head, ...rest] = entry.message.split("\n");
    if (head.length > MESSAGE) { rest = [entry.message]; head = head.slice(0, MESSAGE); }
    if (rest.some(Boolean)) {
      const fold = make("details");
      const summary = make("summary", "", head);
      const end = entry.message.trimEnd().split("\n").pop().trim().slice(0, MESSAGE);
      const traceback = entry.message.includes("Traceback (most recent call last)");
      summary.append(traceback ? make("span", "end", ` … ${end}`) : " …");
      fold.append(summary, make("div", "rest", rest.join("\n").trimEnd()));
      message.append(fold);
    } else {
      message.textContent = head;
    }
    item.append(link, at, make("span", "level", name), message);
    return item;
  }

  function add(number, entry) {
    document.querySelector("[data-log-empty]")?.remove();
    const said = `${entry.level} ${entry.message}`;
    const before = log.lastElementChild;
    if (before && said === last) {
      let times = before.querySelector(".times");
      if (!times) { times = make("span", "times", "×1"); before.querySelector(".message").append(" ", times); }
      times.textContent = `×${Number(times.textContent.slice(1)) + 1}`;
      return;
    }
    last = said;
    log.append(line(number, entry));
    while (log.childElementCount > MOST) log.firstElementChild.remove();
  }

  const atEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - NEAR;
  const toEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);
  function tell() {
    state.classList.toggle("paused", paused);
    button.hidden = !paused || !waiting.length;
    if (paused) words.textContent = `Paused, ${waiting.length === 1 ? "1 new line" : `${waiting.length} new lines`}`;
    else if (!state.classList.contains("over")) words.textContent = "Following the log";
  }
  function flush() {
    paused = false;
    for (const [number, entry] of waiting.splice(0)) add(number, entry);
    toEnd();
    tell();
  }
  addEventListener("scroll", () => {
    const end = atEnd();
    if (end && paused) flush();
    else if (!end && !paused) { paused = true; tell(); }
  }, { passive: true });
  button.addEventListener("click", flush);

  // A page that nobody sees listens to nothing, and goes on behind the last line when it is seen again.
  const url = new URL(log.dataset.tail, location.href);
  let source = null, due = false;
  function listen() {
    source = new EventSource(url);
    source.addEventListener("log", (event) => {
      url.searchParams.set("start", Number(event.lastEventId) + 1);
      const entry = JSON.parse(event.data);
      if (entry.level < level || (text && !entry.message.toLowerCase().includes(text))) return;
      waiting.push([event.lastEventId, entry]);
      if (due) return;
      due = true; // many lines come at once: they are shown once in a frame
      requestAnimationFrame(() => { due = false; if (paused) tell(); else flush(); });
    });
    source.addEventListener("end", () => {
      source.close();
      state.classList.add("over");
      words.textContent = "The job has ended";
      tell();
    });
    source.onopen = () => state.classList.remove("lost");
    source.onerror = () => { if (!state.classList.contains("over")) { state.classList.add("lost"); words.textContent = "The connection was lost; trying again"; } };
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else if (!state.classList.contains("over")) listen();
  });
  if (!document.hidden) listen();
  if (!location.hash) toEnd();
  tell();
})();
