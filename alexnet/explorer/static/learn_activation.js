// The card of the activation function: ReLU, sigmoid and tanh at one layer, side by side.

import { h, number, percent, short, state, t } from "./base.js";
import {
  answer,
  cardBody,
  layerChoice,
  layerOf,
  learnRoute,
  narrow,
  said,
  sentence,
  shapeOf,
  toggle,
} from "./learn_parts.js";
import { decode, mapCanvas, ramp } from "./paint.js";

function histogram(trial) {
  const { counts, low, high } = trial.histogram,
    most = Math.max(...counts),
    [W, H] = [narrow() ? 310 : 380, 110],
    wide = W / counts.length;
  // The counts of a ReLU have one bar, at zero, that would hide all others: the height is a square root.
  const height = (count) => H * Math.sqrt(count / most);
  return h(
    "figure",
    { class: "chart" },
    h(
      "svg",
      {
        viewBox: `0 -4 ${W} ${H + 22}`,
        role: "img",
        "aria-label": t("act.histogram", { low: short(low), high: short(high), flat: percent(trial.flat, 0) }),
      },
      counts.map((count, i) =>
        h("rect", {
          ...{ class: "bar", x: i * wide + 0.5, y: H - height(count), width: wide - 1, height: height(count) },
        }),
      ),
      h("line", { class: "axis", x1: 0, x2: W, y1: H, y2: H }),
      h("text", { x: 0, y: H + 15 }, short(low)),
      h("text", { x: W, y: H + 15, "text-anchor": "end" }, short(high)),
    ),
    h("figcaption", {}, t("act.values")),
  );
}

function gradients(trial, trials) {
  const all = trials.flatMap((each) => each.gradients.map(({ norm }) => norm)).filter((norm) => norm > 0),
    high = Math.ceil(Math.log10(Math.max(...all, 1e-30))),
    low = Math.min(Math.floor(Math.log10(Math.min(...all, 1e30))), high - 1);
  return h(
    "table",
    { class: "gradients" },
    h("caption", {}, t("act.gradients")),
    h(
      "tbody",
      {},
      trial.gradients.map(({ layer, norm }) => {
        const fill = h("span", { class: "fill" });
        fill.style.width = norm > 0 ? `${Math.max(1, (100 * (Math.log10(norm) - low)) / (high - low))}%` : "0";
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, layer),
          h("td", { class: "meterish" }, fill),
          h("td", { class: "n" }, short(norm)),
        );
      }),
    ),
  );
}

function column(trial, trials, own) {
  const maps = decode(trial.maps),
    table = ramp(),
    maximum = Math.max(...maps.limits, 1e-30);
  const grid = h(
    "div",
    { class: `tiles${maps.height === 1 ? " flat" : ""}`, role: "img", "aria-label": t("act.maps", { n: maps.units }) },
    [...Array(maps.units).keys()].map((unit) => mapCanvas(maps, unit, maps.limits[unit] / maximum, table)),
  );
  return h(
    "div",
    { class: "column" },
    h("h3", {}, t(`act.${trial.name}`), trial.name === own && h("span", { class: "pill" }, t("act.trained"))),
    grid,
    histogram(trial),
    h("p", {}, t("act.flat", { flat: percent(trial.flat, 0), zero: percent(trial.zero, 0) })),
    gradients(trial, trials),
    answer(t("learn.answer"), trial.answer),
  );
}

export function drawActivation(card, run, img, layers) {
  // At first the last layer of feature maps, which has most layers below it and still maps to look at.
  const maps = layers.filter((each) => shapeOf(run, each).length === 3),
    layer = layerOf(layers, maps.at(-1) ?? layers.at(-1)),
    everywhere = state.all !== undefined;
  cardBody(
    card,
    () => [layerChoice(layers, layer), toggle("all", t("act.everywhere"), false)],
    () => learnRoute(run, "activation", img, { layer, everywhere }),
    ({ trials, own }) => {
      const first = (name) => trials.find((each) => each.name === name).gradients[0],
        ratio = first("relu").norm / Math.max(first("sigmoid").norm, 1e-30);
      const values = {
        where: everywhere ? t("act.all") : layer,
        layer: first("relu").layer,
        relu: short(first("relu").norm),
        sigmoid: short(first("sigmoid").norm),
        ratio: ratio >= 1 ? number(Number(ratio.toPrecision(2))) : short(1 / ratio),
        says: said(trials.find((each) => each.name === "sigmoid").answer),
        asis: said(trials.find((each) => each.name === own).answer),
        flat: percent(trials.find((each) => each.name === "sigmoid").flat, 0),
      };
      return [
        sentence(t(ratio >= 1 ? "act.sentence" : "act.sentence.less", values)),
        h(
          "div",
          { class: "columns" },
          trials.map((each) => column(each, trials, own)),
        ),
      ];
    },
  );
}
