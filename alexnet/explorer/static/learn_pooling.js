// The card of pooling: windows of 3 x 3 that overlap beside windows of 2 x 2 that do not, on a real feature map.

import { go, h, number, t, words } from "./base.js";
import { answer, cardBody, frame, largest, layerChoice, layerOf, learnRoute, mapWith } from "./learn_parts.js";
import { numberGrid, numberOf, said, sentence, shapeOf, slider, unitChoice } from "./learn_parts.js";

function panel(way, data, row, column) {
  const limit = largest(data.input),
    [r, c] = [Math.min(row, way.values.length - 1), Math.min(column, way.values[0].length - 1)],
    high = Math.min(way.size, data.input.length - 2 * r),
    wide = Math.min(way.size, data.input[0].length - 2 * c),
    window = data.input.slice(2 * r, 2 * r + high).map((line) => line.slice(2 * c, 2 * c + wide));
  const dots = way.rows.flatMap((line, i) =>
    line.map((y, j) => h("circle", { class: "dot", cx: way.columns[i][j] + 0.5, cy: y + 0.5, r: 0.22 })),
  );
  const chosen = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const place = (at, from, length, count) =>
      Math.min(count - 1, Math.max(0, Math.floor((count * (at - from)) / length)));
    go({
      row: place(event.clientY, box.top, box.height, way.values.length),
      col: place(event.clientX, box.left, box.width, way.values[0].length),
    });
  };
  const after = mapWith(
    way.values,
    limit,
    t("pool.after", { h: way.values.length, w: way.values[0].length, sources: number(way.sources) }),
    [frame(c, r, 1, 1)],
  );
  after.querySelector(".over").addEventListener("click", chosen);
  return h(
    "div",
    { class: "column" },
    h("h3", {}, t(`pool.${way.size}`), way.own && h("span", { class: "pill" }, t("act.trained"))),
    h(
      "div",
      { class: "pair" },
      mapWith(data.input, limit, t("pool.before", { source: data.source, unit: data.unit }), [
        ...dots,
        frame(2 * c, 2 * r, wide, high),
      ]),
      after,
    ),
    h(
      "div",
      { class: "small" },
      numberGrid(window, t("pool.window", { row: r, column: c, value: Number(way.values[r][c].toPrecision(3)) }), {
        limit,
        marked: [way.rows[r][c] - 2 * r, way.columns[r][c] - 2 * c],
      }),
    ),
    way.answer ? answer(t("learn.answer"), way.answer) : h("p", { class: "muted" }, t("pool.nofit")),
  );
}

export function drawPooling(card, run, img, layers) {
  const layer = layerOf(layers),
    [units, height, width] = shapeOf(run, layer),
    unit = numberOf("unit", null, units - 1),
    chosenUnit = h("span", {});
  let last = null;
  const draw = (data) => {
    last = data;
    if (!chosenUnit.firstChild) chosenUnit.append(unitChoice(units, data.unit));
    const row = numberOf("row", Math.floor(height / 2), height - 1),
      column = numberOf("col", Math.floor(width / 2), width - 1),
      [three, two] = data.ways,
      count = (way) => number(way.values.length * way.values[0].length);
    const own = data.ways.find((way) => way.own),
      other = data.ways.find((way) => !way.own);
    const values = {
      three: count(three),
      threefrom: number(three.sources),
      two: count(two),
      twofrom: number(two.sources),
      own: own ? `${own.size}×${own.size}` : "",
      other: `${other.size}×${other.size}`,
      asis: own?.answer ? said(own.answer) : "",
      says: other.answer ? said(other.answer) : "",
    };
    return [
      sentence(
        t("pool.sentence", values) +
          (values.asis && values.says ? (words.lang === "zh" ? "" : " ") + t("pool.answers", values) : ""),
      ),
      data.average && h("p", { class: "muted" }, t("pool.average")),
      h(
        "div",
        { class: "columns two-columns" },
        data.ways.map((way) => panel(way, data, row, column)),
      ),
    ];
  };
  cardBody(
    card,
    (again) => {
      const moved = () => {
        const result = card.querySelector(":scope > .result");
        if (last) result.replaceChildren(...draw(last).filter(Boolean));
        else again();
      };
      const place = (key, label, most) =>
        slider(
          key,
          label,
          { min: 0, max: most - 1, step: 1, value: numberOf(key, Math.floor(most / 2), most - 1), words: String },
          moved,
        );
      return [
        layerChoice(layers, layer),
        chosenUnit,
        place("row", t("learn.row"), height),
        place("col", t("learn.column"), width),
      ];
    },
    () => learnRoute(run, "pooling", img, { layer, unit }),
    draw,
  );
}
