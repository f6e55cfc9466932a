// Asks `status` again and again and shows the answer. Whatever comes from there goes in as text, never as markup.

const PERIOD = 2000; // milliseconds, as for the rest
const PERIOD_HIDDEN = 15000; // the page is hidden, but the tab's icon stays current
const LONGEST_PERIOD = 15000; // while there is no answer
const PATIENCE = 5000;
/** One lost answer is no news. */
const SILENT_AFTER = 2;

const byId = (id) => document.getElementById(id);
const say = speaker(JSON.parse(byId("words").textContent), chooseLanguage(navigator.languages));

/** The last answer, when it came (on the page's own clock), and how many questions went unanswered since. */
const seen = { status: null, at: 0, unanswered: 0 };

/** The proxy's time, whatever the browser's clock says; seconds since the epoch. */
const now = () => (seen.status === null ? Date.now() / 1000 : seen.status.now + (performance.now() - seen.at) / 1000);
const isSilent = () => seen.unanswered >= SILENT_AFTER || (seen.status === null && seen.unanswered > 0);

function put(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

function make(name, { className, text, ...attributes } = {}, ...children) {
  const node = document.createElement(name);
  if (className !== undefined) node.className = className;
  if (text !== undefined) node.textContent = text;
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Builds a part anew only when what it shows has changed: a selection or the focus in it should last. */
const shown = new Map();
function renew(id, data, build) {
  const drawn = JSON.stringify(data);
  if (shown.get(id) === drawn) return;
  shown.set(id, drawn);
  byId(id).replaceChildren(...build());
}

// --- What ticks every second ------------------------------------------------------------------------------------------

function tick() {
  const { status } = seen;
  put("clock", status === null ? "" : isSilent() ? say.t("as_of", { time: say.seconds(status.now) }) : say.seconds(now()));
  if (status === null || isSilent()) return;
  const passed = now() - status.now;
  const { token } = status;
  const usable = token.state === "fresh" || token.state === "stale";
  const left = Math.max(0, (token.expires_in_seconds ?? 0) - passed);
  const pause = Math.max(0, token.next_attempt_in_seconds - passed);
  put("token-left", usable ? say.countdown(left) : "–");
  put("token-left-words", say.t(usable ? "token.left" : "token.none"));
  put("token-next-name", say.t(token.last_failure === null && usable ? "token.renewal" : "token.attempt"));
  put("token-next", pause > 0 ? say.t("token.in", { time: say.countdown(pause) }) : say.t("token.now"));
  put("again", token.last_failure !== null && !status.draining && pause > 0 ? say.t("next.in", { time: say.countdown(pause) }) : "");
  const age = now() - (token.last_renewed_at ?? now());
  const life = age + left;
  byId("token-life").style.width = usable && life > 0 ? `${(100 * left) / life}%` : "0";
  const mark = byId("token-mark");
  mark.hidden = !usable || token.last_failure !== null || pause === 0;
  if (!mark.hidden) mark.style.left = `${(100 * (left - pause)) / life}%`;
  put("up", say.duration(now() - status.started_at));
}

// --- What changes with an answer --------------------------------------------------------------------------------------

const COLOURS = { ok: "#1f9d5c", busy: "#3b7ddd", warn: "#d08700", bad: "#d93a3a", off: "#7b8494" };

function showVerdict() {
  const { level, title, sentence, step } = verdict(seen.status, say, isSilent(), now());
  byId("verdict").dataset.level = level;
  byId("sign").setAttribute("href", `#icon-${level}`);
  put("headline", title);
  put("sentence", sentence);
  put("step", step);
  put("facts", isSilent() ? "" : facts(seen.status, say));
  if (isSilent()) put("again", "");
  document.body.classList.toggle("silent", isSilent());
  put("live-words", say.t(seen.unanswered > 0 ? "live.retrying" : seen.status === null ? "live.asking" : "live"));
  document.title = `${title} · telenor-proxy`;
  const disc = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${COLOURS[level]}"/></svg>`;
  const icon = `data:image/svg+xml,${encodeURIComponent(disc)}`;
  if (byId("icon").getAttribute("href") !== icon) byId("icon").setAttribute("href", icon);
}

const dayOf = (instant) => new Date(instant * 1000).toDateString();
/** To the second today, with the day before that. */
const momentOf = (instant, today) => (dayOf(instant) === dayOf(today) ? say.seconds(instant) : say.since(instant, today));

function showToken({ token, history, now: instant }) {
  byId("token").dataset.state = token.state;
  put("token-state", say.t(`token.state.${token.state}`));
  put("token-renewed", token.last_renewed_at === null ? say.t("token.never") : momentOf(token.last_renewed_at, instant));
  put("token-renewals", say.count(token.renewals));
  put("token-failures", say.count(token.failures));
  put("token-invalidations", say.count(token.invalidations));
  const minutes = history.renewals.map((renewals, minute) => [renewals, history.renewal_failures[minute]]);
  const sum = (column) => minutes.reduce((total, row) => total + row[column], 0);
  byId("token-strip").setAttribute("aria-label", say.t("token.strip", { renewals: sum(0), failures: sum(1) }));
  renew("token-strip", minutes, () =>
    minutes.map(([good, bad]) => make("i", { className: bad > 0 ? "bad" : good > 0 ? "good" : "" })),
  );
}

function showConnections({ clients, upstream, throttled, settings }) {
  const most = settings["upstream.max_connections"];
  const { in_use, idle } = upstream;
  put("clients", say.count(clients.connections));
  put("in-flight", say.count(clients.in_flight));
  put("throttled", say.count(Object.values(throttled).reduce((all, n) => all + n, 0)));
  put("upstream", `${say.count(in_use + idle)} ${say.t("connections.of", { max: most })}`);
  put("in-use", say.count(in_use));
  put("idle", say.count(idle));
  byId("pool").setAttribute("aria-label", say.t("connections.label", { in_use, idle, max: most }));
  byId("pool").children[0].style.width = `${(100 * in_use) / most}%`;
  byId("pool").children[1].style.width = `${(100 * idle) / most}%`;
}

/** When a minute of the history began; `minute` may be the number of minutes, for the end. */
function began(status, minute) {
  const { history } = status;
  const newest = history.renewals.length - 1;
  return status.now - history.elapsed_seconds - (newest - minute) * history.bucket_seconds;
}

function times(status) {
  const minutes = status.history.renewals.length;
  const every = minutes / 4;
  const labels = [0, 1, 2, 3].map((quarter) => [quarter * every, say.minutes(began(status, quarter * every))]);
  return {
    minutes,
    times: [...labels, [minutes, say.minutes(status.now)]],
    names: Array.from({ length: minutes }, (_, minute) => say.minutes(began(status, minute))),
  };
}

const callsChart = new Chart(byId("calls-plot"), {
  paint: paintBars,
  explain: (data, minute) =>
    data.layers.filter(([, , counts]) => counts[minute] > 0).map(([name, words, counts]) => [name, words, say.count(counts[minute])]),
});

const latencyChart = new Chart(byId("latency-plot"), {
  paint: paintLines,
  explain: (data, minute) =>
    data.lines.filter(([, , values]) => values[minute] !== null).map(([name, words, values]) => [name, words, say.latency(values[minute])]),
});

function showCalls(status) {
  const results = Object.entries(status.history.results);
  const sums = results.map(([, counts]) => counts.reduce((total, count) => total + count, 0));
  const total = sums.reduce((all, sum) => all + sum, 0);
  const words = total === 0 ? say.t("calls.none") : say.t("calls.total", { n: total });
  put("calls-total", words);
  renew("calls-legend", sums, () =>
    results.map(([name], index) =>
      make(
        "li",
        { className: sums[index] === 0 ? "zero" : "" },
        make("i", { className: `fill-${name}` }),
        make("span", { text: say.t(`result.${name}`) }),
        " ",
        make("b", { text: say.count(sums[index]) }),
      ),
    ),
  );
  const { length } = status.history.renewals;
  const highest = Math.max(...Array.from({ length }, (_, minute) => results.reduce((all, [, counts]) => all + counts[minute], 0)));
  const top = roundUp(highest, 4);
  callsChart.show({
    ...times(status),
    top,
    ticks: [0, top / 2, top].map((value) => [value, say.count(value)]),
    layers: results.map(([name, counts]) => [`fill-${name}`, say.t(`result.${name}`), counts]),
    label: `${words}: ${results.map(([name], index) => `${say.t(`result.${name}`)} ${say.count(sums[index])}`).join(", ")}`,
  });
}

const LATENCIES = [
  ["duration", "p50"],
  ["duration", "p95"],
  ["upstream_duration", "p50"],
  ["upstream_duration", "p95"],
];

function showLatency(status) {
  const { history } = status;
  const { duration, upstream_duration: upstream } = history.hour;
  put("latency-empty", duration.p50 === null ? say.t("latency.none") : "");
  const name = (what) => say.t(what === "duration" ? "latency.duration" : "latency.upstream");
  renew("latency-legend", history.hour, () =>
    ["duration", "upstream_duration"].map((what) =>
      make(
        "li",
        {},
        make("i", { className: `stroke-${what}` }),
        make("span", { text: name(what) }),
        ...["p50", "p95"].flatMap((share) => [
          " ",
          make("span", { className: "share", text: say.t(`latency.${share}`) }),
          " ",
          make("b", { text: say.latency(history.hour[what][share]) }),
        ]),
      ),
    ),
  );
  const top = roundUp(Math.max(...LATENCIES.flatMap(([what, share]) => history[what][share])), 0.01);
  latencyChart.show({
    ...times(status),
    top,
    ticks: [0, top / 2, top].map((value) => [value, value === 0 ? "0" : say.latency(value)]),
    lines: LATENCIES.toReversed().map(([what, share]) => [
      `stroke-${what} ${share}`,
      `${name(what)}, ${say.t(`latency.${share}`)}`,
      history[what][share],
    ]),
    label: say.t("latency.label", {
      a: say.latency(duration.p50),
      b: say.latency(duration.p95),
      c: say.latency(upstream.p50),
      d: say.latency(upstream.p95),
    }),
  });
}

function showNumbers(status) {
  if (!byId("numbers").open) return;
  const { history } = status;
  const results = Object.entries(history.results);
  const pair = (what, minute) => `${say.latency(history[what].p50[minute])} / ${say.latency(history[what].p95[minute])}`;
  const rows = history.renewals
    .map((_, minute) => [
      say.minutes(began(status, minute)),
      ...results.map(([, counts]) => counts[minute]),
      pair("duration", minute),
      pair("upstream_duration", minute),
    ])
    .filter((row) => row.slice(1, -2).some((count) => count > 0))
    .reverse();
  renew("numbers-rows", rows, () =>
    rows.map(([from, ...cells]) =>
      make(
        "tr",
        {},
        make("th", { scope: "row", text: from }),
        ...cells.map((cell) => make("td", { text: typeof cell === "number" ? say.count(cell) : cell, className: cell === 0 ? "zero" : "" })),
      ),
    ),
  );
}

/** Methods that change nothing, so that nothing has to be looked up. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

/** What the API has had of a failed call, and whether it may have acted on it: [words, class]. */
function aboutSending({ refused, attempts, outcome, method }) {
  if (refused) return [say.t("failures.refused"), ""];
  if (outcome === "not_sent" || attempts === 0) return [say.t("failures.unsent"), ""];
  const sent = say.t("failures.sent", { n: attempts });
  return outcome === "unknown" && !SAFE.has(method) ? [`${say.t("failures.unknown")} · ${sent}`, "unknown"] : [sent, ""];
}

function showNotes(status) {
  const urgent = endings(status, say, true);
  const shown = [...urgent, ...notes(status, say)];
  byId("notes").hidden = shown.length === 0;
  renew("notes", shown, () =>
    shown.map((text, place) => {
      const sign = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      sign.setAttribute("class", "sign");
      sign.setAttribute("aria-hidden", "true");
      const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
      use.setAttribute("href", place < urgent.length ? "#icon-bad" : "#icon-warn");
      sign.append(use);
      return make("li", { className: place < urgent.length ? "bad" : "" }, sign, make("span", { text }));
    }),
  );
}

/** Who called: the client's name, without one its address; null if neither is known. */
function callerOf({ client, client_address: address }) {
  return client ?? address;
}

/** Orders that Telenor may have placed. What they are is in the log, and in the application that sent them. */
function showOrders({ unknown_orders: orders, unknown_orders_counted: counted, now: instant }) {
  byId("orders").hidden = orders.length === 0;
  if (orders.length === 0) return;
  put("orders-title", say.t("orders.title", { n: counted }));
  put("orders-older", counted > orders.length ? say.t("orders.older", { n: orders.length }) : "");
  byId("orders-table").classList.toggle("unnamed", orders.every((order) => callerOf(order) === null));
  renew("orders-rows", [orders, dayOf(instant)], () =>
    orders.map(({ at, method, path, request_id: id, ...order }) =>
      make(
        "tr",
        {},
        make("td", { className: "when", text: momentOf(at, instant) }),
        make("td", { className: "client", text: callerOf(order) ?? "–" }),
        make(
          "td",
          {},
          make("span", { className: "method", text: method }),
          " ",
          make("span", { className: "path", text: path ?? "" }),
          make("code", { className: "narrow", text: id }),
        ),
        make("td", { className: "roomy" }, make("code", { text: id })),
        make("td", { className: "roomy next", text: say.t("orders.step") }),
      ),
    ),
  );
}

function showCallers({ clients: { by_name: callers }, now: instant }) {
  byId("callers").hidden = callers.length === 0;
  const moment = (at) => (at === null ? say.t("callers.never") : momentOf(at, instant));
  renew("callers-rows", [callers, dayOf(instant)], () =>
    callers.map(({ name, calls, refused, last_call_at: last, keys }) =>
      make(
        "tr",
        {},
        make("th", { scope: "row", text: name }),
        make("td", { text: say.count(calls) }),
        make("td", { text: say.count(refused), className: refused === 0 ? "zero" : "" }),
        make("td", { text: moment(last), className: "when" }),
        make("td", { text: keys.map(({ position, last_used_at: used }) => `${position}: ${moment(used)}`).join("\n"), className: "keys" }),
      ),
    ),
  );
}

function showFailures({ last_failures: failures, now: instant, settings }) {
  byId("failures-none").hidden = failures.length > 0;
  byId("failures-table").hidden = failures.length === 0;
  renew("failures-rows", [failures, dayOf(instant)], () =>
    failures.map((failure) => {
      const [sent, className] = aboutSending(failure);
      const caller = callerOf(failure);
      const host = hostOf(failure, settings);
      return make(
        "tr",
        {},
        make("td", { className: "when", text: momentOf(failure.at, instant) }),
        make(
          "td",
          {},
          make("span", { className: "method", text: failure.method ?? say.t("failures.no_method") }),
          " ",
          make("span", {
            className: `status ${failure.refused ? "refused" : "failed"}`,
            text: failure.status === 0 ? say.t("failures.cut") : String(failure.status),
          }),
        ),
        make(
          "td",
          {},
          make("span", { text: say.sentence(errorWords(failure, say)), ...(failure.detail !== null && { title: failure.detail }) }),
          make("small", { text: sent, className }),
          ...(host === null ? [] : [make("small", { text: say.t("failures.host", { host }) })]),
          ...(caller === null ? [] : [make("small", { text: caller, className: "caller" })]),
          make("code", { className: "narrow", text: failure.request_id }),
        ),
        make("td", { className: "roomy" }, make("code", { text: failure.request_id })),
      );
    }),
  );
}

/** Values that are words and not the setting's own text. */
const VALUES = new Map([
  [null, "settings.none"],
  [true, "settings.true"],
  [false, "settings.false"],
  ["set", "settings.set"],
  ["not set", "settings.not_set"],
]);

/** One item of a list: text, or a client with what is set of it. */
function itemText(item) {
  if (typeof item !== "object") return String(item);
  const { name, ...others } = item;
  const set = Object.entries(others).filter(([, value]) => value !== null);
  return `${name} (${set.map(([key, value]) => `${key}: ${[value].flat().join(" ")}`).join(", ")})`;
}

function settingText(value) {
  if (VALUES.has(value)) return say.t(VALUES.get(value));
  return Array.isArray(value) ? value.map(itemText).join("\n") : String(value);
}

function showSettings({ settings }) {
  renew("settings-rows", settings, () => {
    let section = "";
    return Object.entries(settings).flatMap(([path, value]) => {
      const [group, key] = [path.slice(0, path.indexOf(".")), path.slice(path.indexOf(".") + 1)];
      const row = make("tr", {}, make("th", { scope: "row", text: key }), make("td", { text: settingText(value) }));
      if (value === null || value === "not set") row.className = "zero";
      if (group === section) return [row];
      section = group;
      return [make("tr", { className: "group" }, make("th", { scope: "rowgroup", colspan: "2", text: group })), row];
    });
  });
}

function showAbout(status) {
  put("version", status.version);
  put("python", status.python);
  put("started", momentOf(status.started_at, status.now));
  const ends = status.certificates.map(({ what, not_after: end }) => [say.t(`certificates.${what}`), ending(end, status.now, say)]);
  renew("certificates", ends, () => ends.map(([name, left]) => make("div", {}, make("dt", { text: name }), make("dd", { text: left }))));
  put("requests", say.t("about.requests", { n: Object.values(status.requests).reduce((all, n) => all + n, 0) }));
}

function show() {
  showVerdict();
  const { status } = seen;
  if (status !== null && seen.unanswered === 0) {
    showNotes(status);
    showOrders(status);
    showCallers(status);
    showToken(status);
    showConnections(status);
    showCalls(status);
    showLatency(status);
    showNumbers(status);
    showFailures(status);
    showSettings(status);
    showAbout(status);
  }
  tick();
}

// --- Asking -----------------------------------------------------------------------------------------------------------

let asking = false;
let timer;

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const answer = await fetch("status?history=1", { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    seen.status = await answer.json();
    seen.at = performance.now();
    seen.unanswered = 0;
  } catch {
    seen.unanswered += 1;
  }
  asking = false;
  const period = seen.unanswered > SILENT_AFTER ? Math.min(PERIOD * (seen.unanswered - 1), LONGEST_PERIOD) : PERIOD;
  timer = setTimeout(ask, document.hidden ? PERIOD_HIDDEN : period);
  show();
}

// --- Beginning --------------------------------------------------------------------------------------------------------

document.documentElement.lang = say.language;
for (const node of document.querySelectorAll("[data-words]")) node.textContent = say.t(node.dataset.words);
put("where", location.host);
put("zone", say.t("about.zone", { zone: say.zone(Date.now() / 1000) }));
byId("numbers-table").tHead.rows[0].append(
  ...["numbers.minute", "result.2xx", "result.3xx", "result.4xx", "result.5xx", "result.refused", "result.failed", "numbers.whole", "numbers.upstream"].map(
    (key) => make("th", { scope: "col", text: say.sentence(say.t(key)) }),
  ),
);
byId("numbers").addEventListener("toggle", () => seen.status !== null && showNumbers(seen.status));
document.addEventListener("visibilitychange", () => !document.hidden && ask());
setInterval(() => !document.hidden && tick(), 1000);
showVerdict();
ask();
