// What the cards of the tab Learn are made of: controls, the result below them, numbers as colors, answers.

import { chips, errorMessage, fetchJson, go, h, percent, route, short, state, t, waitMessage } from "./base.js";
import { canvasOf, ramp } from "./paint.js";

// The layer of the address if the card can show it, else the first one, or the one that is named.
export const layerOf = (layers, first = layers[0]) => (layers.includes(state.layer) ? state.layer : first);
export const shapeOf = (run, layer) => run.layers.find((each) => each.name === layer).shape;
export const numberOf = (key, fallback, most = Infinity) => {
  const value = state[key] === undefined ? NaN : Number(state[key]);
  return Number.isFinite(value) ? Math.min(Math.max(value, 0), most) : fallback;
};

// Puts the controls on a card and, below them, what `draw` makes of the answer of the server. What stood there stays
// until the new answer comes, so that nothing jumps. Returns a function that asks again, for sliders.
export function cardBody(card, controls, query, draw) {
  const result = card.querySelector(":scope > .result") || h("div", { class: "result" }, waitMessage());
  const refresh = async () => {
    const turn = (result.turn = (result.turn || 0) + 1);
    result.setAttribute("aria-busy", "true");
    try {
      const data = await fetchJson(query());
      if (result.turn !== turn) return;
      const focus = result.contains(document.activeElement) ? document.activeElement.id : null;
      result.replaceChildren(...[draw(data)].flat(3).filter(Boolean));
      if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    } catch (error) {
      if (result.turn === turn) result.replaceChildren(errorMessage(error));
    }
    if (result.turn === turn) result.removeAttribute("aria-busy");
  };
  card.replaceChildren(h("div", { class: "controls" }, controls(refresh)), result);
  refresh();
  return refresh;
}
export const learnRoute = (run, idea, img, values = {}) => {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values))
    if (value !== undefined && value !== null && value !== "")
      for (const each of [value].flat()) query.append(key, each);
  return `${route(run.name, "learn", idea, img)}?${query}`;
};

export const sentence = (text, live = "polite") =>
  h("p", { class: "sentence", role: "status", "aria-live": live }, text);
export const field = (label, control) => h("div", { class: "control" }, h("span", { class: "label" }, label), control);
export const layerChoice = (layers, chosen, label = t("learn.layer")) =>
  layers.length > 1 &&
  field(
    label,
    chips(
      label,
      layers.map((each) => [each, each]),
      chosen,
      (layer) => go({ layer, unit: null, row: null, col: null, ch: null }),
    ),
  );
// A switch that is kept in the address only where it is not as at first.
export function toggle(key, label, first = true) {
  const on = (state[key] !== undefined) !== first;
  return h(
    "button",
    {
      type: "button",
      id: `switch-${key}`,
      class: "switch",
      role: "switch",
      "aria-checked": String(on),
      onclick: () => go({ [key]: state[key] === undefined ? 1 : null }),
    },
    h("span", { class: "knob", "aria-hidden": "true" }),
    label,
  );
}
// A slider that writes into the address while it moves; `show` turns its value into words.
export function slider(key, label, { min, max, step, value, words = short, from = (x) => x, to = (x) => x }, moved) {
  const out = h("output", {}, words(value)),
    input = h("input", {
      type: "range",
      id: `slider-${key}`,
      ...{ min, max, step },
      "aria-label": label,
      "aria-valuetext": String(words(value)),
      oninput: () => {
        const now = to(Number(input.value));
        out.textContent = words(now);
        input.setAttribute("aria-valuetext", String(words(now)));
        go({ [key]: Number(now.toPrecision(4)) }, { quiet: true });
        moved(now);
      },
    });
  input.value = from(value);
  return h("label", { class: "control slide" }, h("span", { class: "label" }, label), input, out);
}
export const unitChoice = (units, chosen, label = t("featuremap")) =>
  h(
    "label",
    { class: "control" },
    h("span", { class: "label" }, label),
    h("input", {
      type: "number",
      id: "unit-number",
      min: 0,
      max: units - 1,
      value: chosen,
      onchange: (event) => {
        const unit = Math.min(Math.max(Math.round(Number(event.target.value)) || 0, 0), units - 1);
        go({ unit, row: null, col: null });
      },
    }),
  );

// Charts are drawn for the width of the page, so that their letters are as large as others.
export const narrow = () => innerWidth < 640;
export const largest = (rows) => rows.flat().reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
// A map of numbers, [[...], ...], as pixels; `limit` is the absolute value with the strongest color.
export function numberCanvas(rows, limit = largest(rows), table = ramp()) {
  return canvasOf(rows.length, rows[0].length, (data) => {
    rows.flat().forEach((value, i) => {
      const level = 3 * (128 + Math.round((127 * value) / limit));
      for (let c = 0; c < 3; c++) data[4 * i + c] = table[level + c];
      data[4 * i + 3] = 255;
    });
  });
}
// A map with something drawn over it, in the coordinates of its cells.
export function mapWith(rows, limit, label, overlay = [], caption = "") {
  const picture = h(
    "div",
    { class: "over", role: "img", "aria-label": label },
    numberCanvas(rows, limit),
    h(
      "svg",
      { viewBox: `0 0 ${rows[0].length} ${rows.length}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      overlay,
    ),
  );
  return h("figure", {}, picture, h("figcaption", {}, caption || label));
}
export const frame = (x, y, width, height, kind = "frame") =>
  h("rect", { class: kind, x, y, width, height, "vector-effect": "non-scaling-stroke" });

// Numbers in their cells, each with its color.
// Small numbers are shown as multiples of a power of ten, which the label then names.
export function numberGrid(rows, label, { limit = largest(rows), marked = null } = {}) {
  const power = limit < 0.5 ? 1 + Math.ceil(-Math.log10(limit)) : 0,
    named = power ? `${label} · 10${superscript(-power)}` : label;
  const side = 30,
    table = ramp(),
    wide = rows[0].length,
    dark = document.documentElement.dataset.theme === "dark";
  const cells = rows.flatMap((row, i) =>
    row.map((value, j) => {
      const level = 3 * (128 + Math.round((127 * value) / limit)),
        color = [table[level], table[level + 1], table[level + 2]],
        bright = (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255;
      return [
        h("rect", {
          ...{ x: j * side, y: i * side, width: side, height: side },
          fill: `rgb(${color})`,
          class: dark ? "cell dark" : "cell",
        }),
        h(
          "text",
          { x: (j + 0.5) * side, y: (i + 0.5) * side + 3.5, fill: bright > 0.45 ? "#10161c" : "#fff" },
          brief(value * 10 ** power),
        ),
      ];
    }),
  );
  const picture = h(
    "svg",
    {
      class: "numbers",
      viewBox: `-2 -2 ${wide * side + 4} ${rows.length * side + 4}`,
      role: "img",
      "aria-label": named,
    },
    cells.flat(),
    marked && h("rect", { class: "marked", x: marked[1] * side, y: marked[0] * side, width: side, height: side }),
  );
  picture.style.maxWidth = `${Math.min(23, 3.4 * wide)}rem`;
  return h("figure", {}, picture, h("figcaption", {}, named));
}
const superscript = (n) => [...String(n)].map((each) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(each)]).join("");
// As few characters as say something.
export function brief(value) {
  if (value === 0) return "0";
  const size = Math.abs(value),
    sign = value < 0 ? "−" : "";
  if (size >= 99.5) return sign + String(Math.round(size));
  if (size >= 9.95) return sign + size.toFixed(0);
  if (size >= 0.95) return sign + size.toFixed(1);
  return size < 0.005 ? "0" : sign + size.toFixed(size < 0.095 ? 2 : 1).replace(/^0/, "");
}

export function answer(title, top) {
  return h(
    "div",
    { class: "answer" },
    h("h3", {}, title),
    h(
      "ol",
      { class: "bars" },
      top.map((each) => {
        const fill = h("span", { class: "fill" });
        fill.style.width = `${100 * each.probability}%`;
        return h("li", {}, fill, h("b", {}, each.name), h("span", {}, percent(each.probability)));
      }),
    ),
  );
}
export const said = (top) => `${top[0].name} ${percent(top[0].probability, 0)}`;
