// The card of the two towers: what crosses between them, in bytes, and the answer when a crossing is cut.

import { go, h, number, percent, short, state, t } from "./base.js";
import { answer, cardBody, learnRoute, sentence } from "./learn_parts.js";

const bytes = (count) =>
  count >= 1e6 ? `${short(count / 1e6)} MB` : count >= 1000 ? `${short(count / 1000)} kB` : `${number(count)} B`;

function lanes(data, cut) {
  const step = 92,
    W = 40 + step * data.layers.length,
    y = [34, 116],
    x = (i) => 52 + i * step,
    meeting = data.exchanges.map((each) => each.layer),
    last = data.layers.length - 1;
  const wires = data.layers.slice(1).flatMap((layer, j) => {
    const i = j + 1,
      ends = i === last ? [75, 75] : y,
      straight = y.map((from, lane) =>
        h("path", { class: "wire", d: `M${x(i - 1) + 24},${from} L${x(i) - 26},${ends[lane]}` }),
      );
    if (!meeting.includes(layer)) return straight;
    const kind = cut.includes(layer) ? "cross cut" : "cross";
    if (i === last) return [straight[0], h("path", { class: kind, d: `M${x(i - 1) + 24},${y[1]} L${x(i) - 26},75` })];
    return [
      ...straight,
      h("path", { class: kind, d: `M${x(i - 1) + 24},${y[0]} L${x(i) - 26},${y[1]}` }),
      h("path", { class: kind, d: `M${x(i - 1) + 24},${y[1]} L${x(i) - 26},${y[0]}` }),
    ];
  });
  const boxes = data.layers.flatMap((layer, i) =>
    (i === last ? [75] : y).flatMap((center) => [
      h("rect", { class: "slab", x: x(i) - 24, y: center - 15, width: 48, height: 30, rx: 5 }),
      h("text", { class: "name", x: x(i), y: center + 4, "text-anchor": "middle" }, layer),
    ]),
  );
  const sizes = data.exchanges.map((each) =>
    h(
      "text",
      {
        x: x(data.layers.indexOf(each.layer)) - step / 2,
        y: 150,
        "text-anchor": "middle",
        class: cut.includes(each.layer) ? "gone" : null,
      },
      cut.includes(each.layer) ? "✂" : bytes(each.bytes),
    ),
  );
  return h(
    "div",
    { class: "net", tabindex: 0, role: "region", "aria-label": t("tow.diagram") },
    h("svg", { viewBox: `0 0 ${W} 160`, "aria-hidden": "true" }, wires, boxes, sizes),
  );
}

export function drawTowers(card, run, img, layers) {
  const cut = (state.cut || "").split(",").filter((each) => layers.includes(each));
  const change = (layer) =>
    go({ cut: (cut.includes(layer) ? cut.filter((each) => each !== layer) : [...cut, layer]).join(",") || null });
  cardBody(
    card,
    () => [
      h(
        "div",
        { class: "control", role: "group", "aria-label": t("tow.cut") },
        h("span", { class: "label" }, t("tow.cut")),
        layers.map((layer) =>
          h(
            "button",
            {
              type: "button",
              id: `cut-${layer}`,
              class: "switch",
              role: "switch",
              "aria-checked": String(cut.includes(layer)),
              onclick: () => change(layer),
            },
            h("span", { class: "knob", "aria-hidden": "true" }),
            layer,
          ),
        ),
      ),
      cut.length < layers.length &&
        h("button", { type: "button", id: "cut-all", onclick: () => go({ cut: layers.join(",") }) }, t("tow.all")),
      cut.length > 0 &&
        h("button", { type: "button", id: "cut-none", onclick: () => go({ cut: null }) }, t("tow.none")),
    ],
    () => learnRoute(run, "towers", img, { cut: cut.join(",") }),
    (data) => {
      const crossing = data.exchanges.filter((each) => !cut.includes(each.layer)),
        sum = (list) => list.reduce((total, each) => total + each.bytes, 0);
      const values = {
        n: data.exchanges.length,
        bytes: bytes(sum(data.exchanges)),
        left: bytes(sum(crossing)),
        cut: cut.join(", "),
        class: data.class,
        before: percent(data.before),
        after: percent(data.after),
        says: data.left[0].name,
      };
      const same = data.left[0].name === data.class;
      return [
        sentence(t(!cut.length ? "tow.sentence" : same ? "tow.sentence.cut" : "tow.sentence.other", values)),
        lanes(data, cut),
        h(
          "div",
          { class: "scroll", tabindex: 0, role: "region", "aria-label": t("tow.table") },
          h(
            "table",
            {},
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["tow.layer", "tow.values", "tow.bytes", "tow.what"].map((key, i) =>
                  h("th", { scope: "col", class: i === 1 || i === 2 ? "n" : null }, t(key)),
                ),
              ),
            ),
            h(
              "tbody",
              {},
              data.exchanges.map((each) =>
                h(
                  "tr",
                  { class: cut.includes(each.layer) ? "gone" : null },
                  h("th", { scope: "row" }, each.layer),
                  h("td", { class: "n" }, number(each.values)),
                  h("td", { class: "n" }, bytes(each.bytes)),
                  h("td", {}, cut.includes(each.layer) ? t("tow.gone") : t(`tow.to.${each.to}`)),
                ),
              ),
            ),
          ),
        ),
        h(
          "div",
          { class: "columns two-columns" },
          answer(t("tow.whole"), data.whole),
          cut.length ? answer(t("tow.left", values), data.left) : "",
        ),
      ];
    },
  );
}
