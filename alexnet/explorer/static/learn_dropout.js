// The card of dropout: masks as training draws them, the answers that follow, and the scaling of test time.

import { go, h, percent, t } from "./base.js";
import { answer, cardBody, learnRoute, narrow, numberOf, sentence, slider } from "./learn_parts.js";
import { canvasOf } from "./paint.js";

function bits(text, count) {
  const bytes = atob(text);
  return [...Array(count).keys()].map((i) => (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1);
}

function maskCanvas(kept) {
  // A rectangle without a remainder, if one is not too wide.
  const least = Math.ceil(Math.sqrt(kept.length)),
    whole = [...Array(3 * least).keys()].map((i) => i + least).find((each) => kept.length % each === 0),
    width = whole || least,
    height = Math.ceil(kept.length / width),
    dark = document.documentElement.dataset.theme === "dark",
    colors = dark
      ? [
          [86, 180, 233],
          [42, 52, 62],
        ]
      : [
          [0, 103, 163],
          [213, 220, 227],
        ];
  return canvasOf(height, width, (data) => {
    kept.forEach((on, i) => {
      colors[on ? 0 : 1].forEach((value, c) => (data[4 * i + c] = value));
      data[4 * i + 3] = 255;
    });
  });
}

function strip(data) {
  const [W, H] = [narrow() ? 330 : 600, 96],
    x = (share) => 10 + (W - 20) * share,
    test = data.at_test[0].probability;
  const mark = (share, kind, y, text) => [
    h("line", { class: kind, x1: x(share), x2: x(share), y1: 8, y2: H - 22 }),
    h(
      "text",
      { class: "name", x: x(share), y, "text-anchor": share > 0.75 ? "end" : share < 0.25 ? "start" : "middle" },
      text,
    ),
  ];
  return h(
    "figure",
    { class: "chart wide" },
    h(
      "svg",
      {
        viewBox: `0 -12 ${W} ${H + 30}`,
        role: "img",
        "aria-label": t("drop.strip", {
          class: data.class,
          low: percent(Math.min(...data.probabilities), 0),
          high: percent(Math.max(...data.probabilities), 0),
        }),
      },
      [0, 0.25, 0.5, 0.75, 1]
        .map((share) => [
          h("line", { class: "grid", x1: x(share), x2: x(share), y1: 8, y2: H - 22 }),
          h(
            "text",
            { x: x(share), y: H - 6, "text-anchor": share === 1 ? "end" : share ? "middle" : "start" },
            percent(share, 0),
          ),
        ])
        .flat(),
      data.probabilities.map((share, i) =>
        h("circle", { class: "mask-dot", cx: x(share), cy: 14 + ((i * 37) % 100) * 0.55, r: 3 }),
      ),
      mark(data.mean_of_class, "mean", 0, t("drop.mean", { share: percent(data.mean_of_class) })),
      mark(test, "test", H + 13, t("drop.test", { share: percent(test) })),
    ),
    h("figcaption", {}, t("drop.caption", { masks: data.masks, class: data.class })),
  );
}

export function drawDropout(card, run, img) {
  const seed = numberOf("seed", 0);
  const asked = () => numberOf("share", null, 0.95);
  let slides = null;
  const refresh = cardBody(
    card,
    () => [
      (slides = h("span", { class: "sliders" })),
      h("button", { type: "button", id: "drop-other", onclick: () => go({ seed: seed + 1 }) }, t("drop.other")),
    ],
    () => learnRoute(run, "dropout", img, { share: asked(), seed }),
    (data) => {
      if (!slides.firstChild)
        slides.append(
          slider(
            "share",
            t("drop.share"),
            { min: 0, max: 0.95, step: 0.05, value: data.share, words: (share) => percent(share, 0) },
            () => refresh(),
          ),
        );
      const layers = Object.entries(data.kept);
      const values = {
        masks: data.masks,
        class: data.class,
        low: percent(Math.min(...data.probabilities), 0),
        high: percent(Math.max(...data.probabilities), 0),
        mean: percent(data.mean_of_class),
        test: percent(data.at_test[0].probability),
        agree: data.agree,
        keep: percent(1 - data.share, 0),
      };
      return [
        sentence(t(data.scales_at_test ? "drop.sentence" : "drop.sentence.inverted", values)),
        strip(data),
        h("h3", {}, t("drop.masks", { n: data.winners.length, layers: layers.map(([name]) => name).join(", ") })),
        h(
          "div",
          { class: "masks" },
          data.winners.map((winner, i) =>
            h(
              "figure",
              { class: winner === data.class ? null : "other" },
              h(
                "div",
                {
                  role: "img",
                  "aria-label": layers
                    .map(([name, layer]) => {
                      const kept = bits(layer.masks[i], layer.units);
                      return t("drop.kept", { layer: name, n: kept.reduce((a, b) => a + b, 0), of: layer.units });
                    })
                    .join("; "),
                },
                layers.map(([, layer]) => maskCanvas(bits(layer.masks[i], layer.units))),
              ),
              h("figcaption", {}, winner, h("br"), percent(data.probabilities[i], 0)),
            ),
          ),
        ),
        h(
          "div",
          { class: "columns two-columns" },
          answer(t("drop.mean.title", { masks: data.masks }), data.mean),
          answer(t("drop.test.title"), data.at_test),
        ),
      ];
    },
  );
}
