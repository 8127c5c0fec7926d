// The card of augmentation: what training sees of the image, color noise by hand, and the ten crops of a test.

import { fetchJson, h, number, percent, route, short, state, t, words } from "./base.js";
import { imageUrl } from "./image.js";
import { cardBody, learnRoute, sentence, slider, toggle } from "./learn_parts.js";

const AXES = ["axis1", "axis2", "axis3"];
const axis = (key) => {
  const value = Number(state[key]);
  return Number.isFinite(value) ? Math.min(Math.max(value, -4), 4) : 0;
};

function cropCanvas(run, img, crop) {
  const canvas = h("canvas", { width: 96, height: 96 }),
    image = new Image();
  image.onload = () => {
    const context = canvas.getContext("2d"),
      side = image.naturalWidth,
      [x, y, part] = crop.box;
    if (crop.mirrored) context.setTransform(-1, 0, 0, 1, 96, 0);
    context.imageSmoothingEnabled = side >= 64;
    context.drawImage(image, x * side, y * side, part * side, part * side, 0, 0, 96, 96);
  };
  image.src = imageUrl(run, img);
  return canvas;
}

function tenCrops(run, img, answers) {
  const best = answers.ten[0],
    agree = answers.crops.filter((each) => each.top.name === best.name).length;
  return [
    h("h3", {}, t(answers.crops.length > 2 ? "aug.ten" : "aug.two")),
    h(
      "p",
      {},
      t("aug.ten.sentence", {
        n: answers.crops.length,
        agree,
        class: best.name,
        mean: percent(best.probability),
        one: answers.one[0].name,
        center: percent(answers.one[0].probability),
      }),
    ),
    h(
      "div",
      { class: "views ten" },
      answers.crops.map((crop, i) =>
        h(
          "figure",
          { class: crop.top.name === best.name ? null : "other" },
          h(
            "div",
            { role: "img", "aria-label": t(crop.mirrored ? "aug.crop.flipped" : "aug.crop.n", { n: i + 1 }) },
            cropCanvas(run, img, crop),
          ),
          h("figcaption", {}, `${crop.top.name} ${percent(crop.top.probability, 0)}${crop.mirrored ? " ⇋" : ""}`),
        ),
      ),
    ),
  ];
}

export function drawAugmentation(card, run, img) {
  const switches = { crop: "nocrop", flip: "noflip", noise: "nonoise" };
  const on = (name) => state[switches[name]] === undefined;
  const tens = h("div", { class: "tens", "aria-busy": "true" });
  // A slider changes only the one image beside it, not the grid of what training sees.
  let shifted = null;
  const slidersOf = (data) =>
    AXES.map((key, i) => {
      const control = slider(
        key,
        t("aug.axis", { n: i + 1, stdev: short(data.stdevs[i]) }),
        { min: -3, max: 3, step: 0.1, value: axis(key), words: (x) => `${short(x)} σ` },
        moved,
      );
      const color = data.vectors[i].map((share) => Math.round(128 + 120 * share)),
        swatch = h("span", { class: "swatch" });
      swatch.style.background = `linear-gradient(90deg, rgb(${color.map((c) => 256 - c)}), rgb(${color}))`;
      control.prepend(swatch);
      return control;
    });
  const query = () =>
    learnRoute(run, "augmentation", img, {
      ...Object.fromEntries(Object.keys(switches).map((name) => [name, on(name)])),
      ...Object.fromEntries(AXES.map((key) => [key, axis(key)])),
    });
  let turn = 0;
  const moved = async () => {
    const mine = ++turn;
    const data = await fetchJson(query()).catch(() => null);
    if (data && mine === turn && shifted) shifted.src = data.shifted;
  };
  cardBody(
    card,
    () => Object.entries(switches).map(([name, key]) => toggle(key, t(`aug.${name}`))),
    query,
    (data) => {
      shifted = h("img", { class: data.crop < 64 ? "tiny" : null, src: data.shifted, alt: t("aug.shifted.alt") });
      const flips = on("flip") ? 2 : 1,
        places = data.view === "crop" && data.positions ? data.positions : 1;
      const values = {
        n: data.views.length,
        different: data.different,
        side: data.margin + 1,
        places: number(places * flips),
        size: data.size,
        crop: data.crop,
        flips,
        coefficient: short(data.coefficient),
      };
      return [
        sentence(
          [
            t(`aug.sentence.${data.view}${on("flip") ? ".flip" : ""}`, values),
            on("noise") && data.colors ? t("aug.sentence.noise", values) : "",
            t("aug.sentence.seen", values),
          ].join(words.lang === "zh" ? "" : " "),
        ),
        !data.colors && h("p", { class: "muted" }, t("aug.nocolors")),
        h("h3", {}, t("aug.seen", { n: data.views.length })),
        h(
          "div",
          { class: "views" },
          data.views.map((src, i) =>
            h(
              "figure",
              {},
              h("img", { class: data.crop < 64 ? "tiny" : null, src, alt: t("aug.view", { n: i + 1 }) }),
              h("figcaption", {}, t("aug.view", { n: i + 1 })),
            ),
          ),
        ),
        data.colors &&
          h(
            "div",
            { class: "shifted" },
            shifted,
            h(
              "div",
              {},
              h("h3", {}, t("aug.shifted")),
              h("p", { class: "muted" }, t("aug.shifted.note", values)),
              h("div", { class: "sliders column" }, slidersOf(data)),
            ),
          ),
        tens,
      ];
    },
  );
  fetchJson(route(run.name, "answers", img))
    .then((answers) => tens.replaceChildren(...tenCrops(run, img, answers)))
    .catch(() => {})
    .finally(() => tens.removeAttribute("aria-busy"));
}
