// The card of local response normalization: a unit, its neighbors, and what they divide it by.

import { chips, go, h, number, short, state, t } from "./base.js";
import { answer, cardBody, field, frame, largest, layerChoice, layerOf, learnRoute, mapWith } from "./learn_parts.js";
import { narrow, said, sentence, slider, unitChoice } from "./learn_parts.js";

const CONSTANTS = ["size", "alpha", "beta", "k"];
const KEYS = { size: "lrn_n", alpha: "lrn_a", beta: "lrn_b", k: "lrn_k" };

function bars(data, off) {
  const { before, after, first, neighbors, unit } = data,
    [W, H] = [Math.max(narrow() ? 330 : 720, (narrow() ? 6 : 13) * before.length), 170],
    wide = W / before.length,
    most = Math.max(...before, 1e-30),
    least = Math.min(0, ...before),
    y = (value) => (H * (most - value)) / (most - least);
  const bar = (value, i, kind, narrow) =>
    h("rect", {
      class: kind,
      x: i * wide + (wide * (1 - narrow)) / 2,
      width: wide * narrow,
      y: Math.min(y(0), y(value)),
      height: Math.max(0.5, Math.abs(y(value) - y(0))),
    });
  const own = [neighbors[0] - first, neighbors[1] - first];
  return h(
    "figure",
    { class: "chart wide" },
    h(
      "svg",
      {
        viewBox: `0 -4 ${W} ${H + 24}`,
        role: "img",
        "aria-label": t("lrn.bars", { before: short(before[unit - first]), after: short(after[unit - first]) }),
      },
      h("rect", { class: "band", x: own[0] * wide, width: (own[1] - own[0] + 1) * wide, y: -4, height: H + 8 }),
      before.map((value, i) => bar(value, i, "bar before", 0.86)),
      off ? [] : after.map((value, i) => bar(value, i, i === unit - first ? "bar chosen" : "bar", 0.5)),
      h("line", { class: "axis", x1: 0, x2: W, y1: y(0), y2: y(0) }),
      h(
        "text",
        { x: Math.min(Math.max((unit - first + 0.5) * wide, 14), W - 14), y: H + 17, "text-anchor": "middle" },
        String(unit),
      ),
    ),
    h("figcaption", {}, t("lrn.caption")),
  );
}

export function drawLrn(card, run, img, layers) {
  const layer = layerOf(layers),
    off = state.off !== undefined;
  let own = null;
  const chosen = () =>
    Object.fromEntries(CONSTANTS.map((key) => [key, state[KEYS[key]] === undefined ? null : Number(state[KEYS[key]])]));
  const controls = h("div", { class: "sliders" });
  // The constants of the layer are known with the first answer; the sliders begin there.
  const drawSliders = (constants, refresh) => {
    const spec = {
      size: { min: 1, max: 15, step: 1, words: String },
      alpha: { min: -5, max: 1, step: 0.05, from: (x) => Math.log10(Math.max(x, 1e-5)), to: (x) => 10 ** x },
      beta: { min: 0, max: 2, step: 0.05 },
      k: { min: 0.1, max: 10, step: 0.1 },
    };
    controls.replaceChildren(
      ...CONSTANTS.map((key) =>
        slider(KEYS[key], t(`lrn.${key}`), { ...spec[key], value: constants[key] }, () => refresh()),
      ),
      h(
        "button",
        {
          type: "button",
          id: "lrn-own",
          onclick: () => go(Object.fromEntries(Object.values(KEYS).map((key) => [key, null]))),
        },
        t("lrn.own"),
      ),
    );
  };
  const refresh = cardBody(
    card,
    () => [
      layerChoice(layers, layer),
      field(
        "LRN",
        chips(
          "LRN",
          [
            [false, t("lrn.on")],
            [true, t("lrn.off")],
          ],
          off,
          (value) => go({ off: value ? 1 : null }),
        ),
      ),
      h("span", { id: "lrn-unit" }),
      controls,
    ],
    () => learnRoute(run, "lrn", img, { layer, unit: state.unit, row: state.row, column: state.col, ...chosen() }),
    (data) => {
      if (!own) {
        own = data.own;
        drawSliders(data.constants, refresh);
        card.querySelector("#lrn-unit").replaceChildren(unitChoice(data.units, data.unit));
      }
      const i = data.unit - data.first,
        constants = data.constants,
        way = off ? "off" : "changed";
      const values = {
        unit: data.unit,
        layer,
        before: short(data.before[i]),
        after: short(data.after[i]),
        n: data.neighbors[1] - data.neighbors[0] + 1,
        first: data.neighbors[0],
        last: data.neighbors[1],
        squares: short(data.squares),
        divisor: short(data.divisor),
        formula: `(${short(constants.k)} + ${short(constants.alpha)} / ${constants.size} · ${short(data.squares)})^${short(constants.beta)}`,
        asis: said(data.answers.own),
        says: said(data.answers[way]),
        without: said(data.answers.off),
      };
      const limit = largest(data.maps.off),
        place = () => [frame(data.column, data.row, 1, 1)];
      return [
        sentence(t(off ? "lrn.sentence.off" : "lrn.sentence", values)),
        bars(data, off),
        h(
          "div",
          { class: "pair" },
          mapWith(
            data.maps.off,
            limit,
            t("lrn.before", { source: data.source, unit: data.unit, limit: short(limit) }),
            place(),
          ),
          off
            ? ""
            : mapWith(
                data.maps.changed,
                largest(data.maps.changed),
                t("lrn.after", { layer, unit: data.unit, limit: short(largest(data.maps.changed)) }),
                place(),
              ),
        ),
        h(
          "div",
          { class: "columns two-columns" },
          answer(t("lrn.answer.on"), data.answers[off ? "own" : "changed"]),
          answer(t("lrn.answer.off"), data.answers.off),
        ),
        h(
          "p",
          { class: "muted" },
          t("lrn.note", { row: data.row, column: data.column, units: number(data.before.length) }),
        ),
      ];
    },
  );
}
