// Draws line charts as SVG: a few series over the epochs, each with its own color and dashes.

import { h } from "./base.js";

const COLORS = ["var(--blue)", "var(--orange)", "#7a52b3", "#2e8b57", "#a63d74", "#808000"],
  DASHES = [null, "6 3", "2 3", "9 3 2 3"];
export const stroke = (i) => ({
  stroke: COLORS[i % COLORS.length],
  "stroke-dasharray": DASHES[Math.floor(i / COLORS.length) % DASHES.length],
  "stroke-width": 2,
  fill: "none",
});

export function legend(names, styles = null) {
  return h(
    "div",
    { class: "keys" },
    names.map((name, i) =>
      h(
        "span",
        {},
        h(
          "svg",
          { viewBox: "0 0 26 10", "aria-hidden": "true" },
          h("line", { x1: 1, x2: 25, y1: 5, y2: 5, ...(styles ? styles[i] : stroke(i)) }),
        ),
        name,
      ),
    ),
  );
}

export function chart(title, lines, { log = false, unit = "" } = {}) {
  const points = lines.flatMap((line) => line.points).filter(([, y]) => Number.isFinite(y) && (!log || y > 0)),
    [W, H, L, B, T, R] = [360, 190, 44, 22, 8, 10];
  if (!points.length) return h("figure", { class: "chart" }, h("h3", {}, title), h("p", { class: "muted" }, "–"));
  const f = log ? Math.log10 : (y) => y,
    ys = points.map(([, y]) => f(y)),
    xs = points.map(([x]) => x);
  let low = log ? Math.min(...ys) : Math.min(0, ...ys),
    high = Math.max(...ys);
  if (log) {
    low = Math.floor(low + 1e-9);
    high = Math.ceil(high - 1e-9);
  }
  if (high - low < 1e-9) {
    high += 1;
    low -= log ? 1 : 0;
  }
  const first = Math.min(...xs),
    last = Math.max(...xs, first + 1),
    X = (x) => L + ((W - L - R) * (x - first)) / (last - first),
    Y = (y) => H - B - ((H - B - T) * (f(y) - low)) / (high - low);
  const raw = log ? 1 : (high - low) / 4,
    base = 10 ** Math.floor(Math.log10(raw)),
    nice = [1, 2, 5, 10].map((m) => m * base).find((m) => m >= raw);
  const ticks = [];
  for (let y = Math.ceil(low / nice) * nice; y <= high + 1e-9; y += nice) ticks.push(y);
  const wide = Math.max(1, Math.ceil((last - first) / 6)),
    marks = [];
  for (let x = first; x <= last; x += wide) marks.push(x);
  const at = (y) => H - B - ((H - B - T) * (y - low)) / (high - low),
    show = (y) => (log ? String(Number((10 ** y).toPrecision(1))) : String(Number(y.toPrecision(3))));
  const description = `${title}: ${lines.map((line) => `${line.name} ${line.points.at(-1)?.[1]?.toPrecision?.(3) ?? "–"}${unit}`).join(", ")}`;
  return h(
    "figure",
    { class: "chart" },
    h("h3", {}, title),
    h(
      "svg",
      { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": description },
      ticks
        .map((y) => [
          h("line", { class: "grid", x1: L, x2: W - R, y1: at(y), y2: at(y) }),
          h("text", { x: L - 6, y: at(y) + 4, "text-anchor": "end" }, show(y) + unit),
        ])
        .flat(),
      marks.map((x) => h("text", { x: X(x), y: H - 6, "text-anchor": "middle" }, String(x))),
      lines
        .map((line, i) => {
          const good = line.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0)),
            style = line.style || stroke(i);
          return [
            h("polyline", {
              points: good.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" "),
              ...style,
              "stroke-linejoin": "round",
            }),
            ...(good.length < 40 ? good : good.slice(-1)).map(([x, y]) =>
              h("circle", { cx: X(x), cy: Y(y), r: 2.3, fill: style.stroke }),
            ),
          ];
        })
        .flat(),
    ),
  );
}
