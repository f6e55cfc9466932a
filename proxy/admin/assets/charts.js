// Small charts of an hour in minutes, drawn as SVG to the size they have, with a note of the minute under the pointer.
// They show nothing that does not stand in the legend or in the table of numbers as well.

const SVG = "http://www.w3.org/2000/svg";
const PLOT = { left: 58, right: 6, top: 10, bottom: 22 };

function shape(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** The smallest of 4, 6, 8, 10, 20, 30, 40, 60, ... (times a power of ten) that is not below the value: its half is round too. */
function roundUp(value, least) {
  const wanted = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(wanted));
  return [1, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((bound) => bound >= wanted * (1 - 1e-9));
}

/**
 * One chart in a host element, drawn anew when its data or its size change.
 * paint(plot, data): draws into `plot.svg`, with `plot.x(minute)` (left edge), `plot.y(value)`, `plot.slot` (a minute's width).
 * explain(data, minute): the lines of the note, as [class of the swatch, words, value].
 */
class Chart {
  #host;
  #parts;
  #data = null;
  #drawn = "";
  #cursor = null;
  #note;

  constructor(host, parts) {
    this.#host = host;
    this.#parts = parts;
    this.#note = document.createElement("div");
    this.#note.className = "note";
    this.#note.hidden = true;
    this.#note.setAttribute("aria-hidden", "true");
    host.append(this.#note);
    new ResizeObserver(() => this.#draw()).observe(host);
    host.addEventListener("pointermove", (event) => this.#point(event));
    host.addEventListener("pointerleave", () => this.#leave());
  }

  /** data: {top, ticks: [[value, words]], times: [[minute, words]], label, ...} */
  show(data) {
    this.#data = data;
    this.#draw();
  }

  #plot() {
    const width = this.#host.clientWidth;
    const height = this.#host.clientHeight;
    const inner = { width: width - PLOT.left - PLOT.right, height: height - PLOT.top - PLOT.bottom };
    const slot = inner.width / this.#data.minutes;
    return {
      svg: shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.#data.label }),
      width,
      height,
      slot,
      x: (minute) => PLOT.left + minute * slot,
      y: (value) => PLOT.top + inner.height * (1 - value / this.#data.top),
    };
  }

  #draw() {
    if (this.#data === null || this.#host.clientWidth === 0) return;
    const drawn = JSON.stringify([this.#host.clientWidth, this.#host.clientHeight, this.#data]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const plot = this.#plot();
    for (const [value, words] of this.#data.ticks) {
      const y = Math.round(plot.y(value)) + 0.5;
      plot.svg.append(
        shape("line", { class: value === 0 ? "axis" : "grid", x1: PLOT.left, x2: plot.width - PLOT.right, y1: y, y2: y }),
        shape("text", { class: "tick", x: PLOT.left - 8, y: y + 3.5, "text-anchor": "end" }, words),
      );
    }
    const labels = plot.width < 420 ? this.#data.times.filter((_, index) => index % 2 === 0) : this.#data.times;
    for (const [minute, words] of labels) {
      const last = minute === this.#data.minutes;
      const anchor = minute === 0 ? "start" : last ? "end" : "middle";
      plot.svg.append(shape("text", { class: "tick", x: plot.x(minute), y: plot.height - 5, "text-anchor": anchor }, words));
    }
    this.#parts.paint(plot, this.#data);
    this.#cursor = shape("line", { class: "cursor", y1: PLOT.top, y2: plot.height - PLOT.bottom, visibility: "hidden" });
    plot.svg.append(this.#cursor);
    this.#host.querySelector("svg")?.remove();
    this.#host.prepend(plot.svg);
  }

  #point(event) {
    if (this.#data === null || this.#cursor === null) return;
    const box = this.#host.getBoundingClientRect();
    const slot = (box.width - PLOT.left - PLOT.right) / this.#data.minutes;
    const minute = Math.floor((event.clientX - box.left - PLOT.left) / slot);
    if (minute < 0 || minute >= this.#data.minutes) return this.#leave();
    const middle = PLOT.left + (minute + 0.5) * slot;
    this.#cursor.setAttribute("x1", middle);
    this.#cursor.setAttribute("x2", middle);
    this.#cursor.setAttribute("visibility", "visible");
    const heading = document.createElement("strong");
    heading.textContent = this.#data.names[minute];
    const rows = this.#parts.explain(this.#data, minute).map(([swatch, words, value]) => {
      const row = document.createElement("span");
      const mark = document.createElement("i");
      mark.className = swatch;
      const amount = document.createElement("b");
      amount.textContent = value;
      row.append(mark, words, amount);
      return row;
    });
    this.#note.replaceChildren(heading, ...rows);
    this.#note.hidden = false;
    const room = box.width - this.#note.offsetWidth;
    const beside = middle + 12 > room ? middle - 12 - this.#note.offsetWidth : middle + 12;
    this.#note.style.left = `${Math.max(0, Math.min(beside, room))}px`;
    return undefined;
  }

  #leave() {
    this.#note.hidden = true;
    this.#cursor?.setAttribute("visibility", "hidden");
  }
}

/** Stacked bars. data.layers: [[class, words, counts]], the lowest first. */
function paintBars(plot, data) {
  const gap = plot.slot > 5 ? 2 : 1;
  for (let minute = 0; minute < data.minutes; minute += 1) {
    let below = 0;
    for (const [name, , counts] of data.layers) {
      const count = counts[minute];
      if (count === 0) continue;
      // A single failure among thousands must still be seen.
      const height = Math.max(1.5, plot.y(below) - plot.y(below + count));
      const width = Math.max(1, plot.slot - gap);
      plot.svg.append(
        shape("rect", { class: name, x: plot.x(minute) + gap / 2, y: plot.y(below) - height, width, height, rx: 1 }),
      );
      below += count;
    }
  }
}

/** Lines with gaps where there was nothing. data.lines: [[class, words, values]]. */
function paintLines(plot, data) {
  for (const [name, , values] of data.lines) {
    let path = "";
    values.forEach((value, minute) => {
      if (value === null) return;
      const [x, y] = [plot.x(minute + 0.5).toFixed(1), plot.y(value).toFixed(1)];
      const [before, after] = [values[minute - 1] ?? null, values[minute + 1] ?? null];
      path += `${before === null ? "M" : "L"}${x} ${y}`;
      if (before === null && after === null) plot.svg.append(shape("circle", { class: `dot ${name}`, cx: x, cy: y, r: 2 }));
    });
    if (path !== "") plot.svg.append(shape("path", { class: `line ${name}`, d: path }));
  }
}
