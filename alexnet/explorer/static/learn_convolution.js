// The card of the convolution: a window moves over the input of a unit, with the real numbers.

import { chips, fetchJson, go, h, number, short, t, errorMessage, waitMessage } from "./base.js";
import { field, frame, layerChoice, layerOf, learnRoute, mapWith, numberGrid, numberOf } from "./learn_parts.js";
import { largest, sentence, shapeOf, unitChoice } from "./learn_parts.js";
import { decode } from "./paint.js";

const STEP = 900; // milliseconds
// It moves by itself unless it was stopped, or motion is not wanted.
let stopped = matchMedia("(prefers-reduced-motion: reduce)").matches;

// The rows of a feature map that have come from the server, so that the next one is there when the window needs it.
// The key has the network: the same address answers otherwise when newer weights were loaded.
const rows = new Map();
function rowOf(run, address) {
  const key = `${run.model} ${address}`;
  if (!rows.has(key)) {
    if (rows.size > 40) rows.delete(rows.keys().next().value);
    const promise = fetchJson(address);
    promise.catch(() => rows.delete(key));
    rows.set(key, promise);
  }
  return rows.get(key);
}

function floats(data) {
  const { bytes, height, width, limits } = decode(data);
  return [...Array(height).keys()].map((i) =>
    [...Array(width).keys()].map((j) => (bytes[i * width + j] / 127) * limits[0]),
  );
}

export function drawConvolution(card, run, img, layers) {
  const layer = layerOf(layers),
    [units, height, width] = shapeOf(run, layer),
    unit = numberOf("unit", null, units - 1),
    channel = numberOf("ch", 0);
  let row = numberOf("row", Math.floor(height / 2), height - 1),
    column = numberOf("col", 0, width - 1),
    timer = null;
  const at = (r) => learnRoute(run, "convolution", img, { layer, unit, row: r, channel });
  const result = card.querySelector(":scope > .result") || h("div", { class: "result" }, waitMessage());
  const playing = () => timer !== null;

  const draw = async () => {
    result.setAttribute("aria-busy", "true");
    try {
      const data = await rowOf(run, at(row));
      rowOf(run, at((row + 1) % height));
      if (result.isConnected) result.replaceChildren(...picture(data, column));
    } catch (error) {
      pause();
      result.replaceChildren(errorMessage(error));
    }
    result.removeAttribute("aria-busy");
  };
  const move = (by) => {
    const place = (row * width + column + by + height * width) % (height * width);
    [row, column] = [Math.floor(place / width), place % width];
    go({ row, col: column }, { quiet: true });
    return draw();
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = t("play");
  };
  const play = h(
    "button",
    {
      type: "button",
      id: "conv-play",
      class: "main",
      onclick: () => {
        stopped = playing();
        if (stopped) return pause();
        timer = setInterval(() => move(1), STEP);
        play.textContent = t("pause");
      },
    },
    t("play"),
  );
  const step = (id, by, text) =>
    h(
      "button",
      {
        type: "button",
        id,
        onclick: () => {
          stopped = true;
          pause();
          move(by);
        },
      },
      text,
    );

  const picture = (data, c) => {
    const k = data.kernel.length,
      left = c * data.stride,
      patch = data.inputs.map((line) => line.slice(left, left + k)),
      name =
        data.source === "input"
          ? t(`conv.rgb${data.channels.length === 3 ? data.channel : 3}`)
          : String(data.channels[data.channel]),
      limit = largest(data.inputs);
    const values = {
      layer,
      unit: data.unit,
      row,
      column: c,
      n: number(k * k * data.channels.length),
      sum: short(data.sums[c].reduce((a, b) => a + b, 0)),
      bias: short(data.bias),
      value: short(data.values[c]),
      part: short(data.sums[c][data.channel]),
      name,
    };
    const input = floats(data.input),
      done = data.map.map((line, r) => line.map((value, j) => (r < row || (r === row && j <= c) ? value : 0)));
    return [
      sentence(t("conv.sentence", values), playing() ? "off" : "polite"),
      h(
        "div",
        { class: "pair" },
        mapWith(
          input,
          largest(input),
          t("conv.input", { source: data.source === "input" ? t("input") : data.source, name }),
          [frame(left - data.padding, data.top, k, k)],
        ),
        mapWith(
          done,
          largest(data.map),
          t("conv.map", { layer, unit: data.unit, n: number(row * width + c + 1), of: number(height * width) }),
          [frame(c, row, 1, 1)],
        ),
      ),
      h(
        "div",
        { class: "triple" },
        numberGrid(patch, t("conv.window", { name }), { limit }),
        numberGrid(data.kernel, t("conv.kernel", { name })),
        numberGrid(data.products[c], t("conv.products", { part: values.part }), {
          limit: largest(data.products.flat()),
        }),
      ),
    ];
  };

  const seen = rowOf(run, at(row));
  const channels = h("span", {}),
    chosenUnit = h("span", {});
  seen.then(
    (data) => {
      chosenUnit.replaceChildren(unitChoice(units, data.unit));
      const many = data.channels.length;
      if (many < 2) return;
      const names = data.channels.map((each, i) => [
        i,
        data.source === "input" && many === 3 ? t(`conv.rgb${i}`) : String(each),
      ]);
      const choose = (ch) => go({ ch });
      channels.replaceChildren(
        many <= 3
          ? chips(t("conv.channel"), names, data.channel, choose)
          : h(
              "select",
              { id: "conv-channel", "aria-label": t("conv.channel"), onchange: (event) => choose(event.target.value) },
              names.map(([value, text]) => h("option", { value, selected: value === data.channel }, text)),
            ),
      );
    },
    () => {},
  );
  card.replaceChildren(
    h(
      "div",
      { class: "controls" },
      layerChoice(layers, layer),
      chosenUnit,
      field(t("conv.channel"), channels),
      h("div", { class: "control" }, play, step("conv-back", -1, t("conv.back")), step("conv-step", 1, t("conv.step"))),
    ),
    result,
  );
  draw();
  if (!stopped) play.click();
  return pause;
}
