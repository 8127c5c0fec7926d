// All maps of a layer, and what one of them shows: its kernel, and the places that excite it most.

import { arrows, ask, columns, go, h, number, route, short, show, t } from "./base.js";
import { stages } from "./network.js";
import { decode, kernelCanvas, mapCanvas, ramp } from "./paint.js";
import { pictureUrl } from "./picture.js";

export function mapGrid(run, layer, found, chosen, scale, choose) {
  const table = ramp(),
    most = Math.max(...found.limits, 1e-30),
    each = found.units / layer.towers,
    flat = found.height * found.width === 1;
  const tower = (k) => {
    const units = [...Array(each).keys()].map((i) => k * each + i);
    const title =
      layer.towers > 1 ? h("h3", {}, `${t("tower", { n: k + 1 })} · ${k * each}–${(k + 1) * each - 1}`) : "";
    if (flat) {
      const names =
        each === run.classes.length && layer.towers === 1 && layer.name === run.layers.at(-1).name ? run.classes : null;
      const value = (unit) => Math.sign(found.bytes[unit]) * found.limits[unit];
      const strongest = units.sort((a, b) => value(b) - value(a)).slice(0, 24);
      const grid = h(
        "div",
        { class: "bars", role: "group", "aria-label": layer.name },
        strongest.map((unit) => {
          const fill = h("span", { class: "fill" });
          fill.style.width = `${Math.max(0, (100 * value(unit)) / most)}%`;
          return h(
            "button",
            {
              type: "button",
              id: `unit-${unit}`,
              "aria-pressed": String(unit === chosen),
              onclick: () => choose(unit),
            },
            fill,
            h("b", {}, names ? names[unit] : `${t("unit")} ${unit}`),
            h("span", {}, value(unit).toPrecision(3)),
          );
        }),
      );
      return h(
        "div",
        { class: "tower" },
        title,
        each > 24 && h("small", {}, t("strongest", { n: 24, of: number(each) })),
        arrows(grid),
      );
    }
    const size = found.width > 20 ? "l" : found.width < 8 ? "s" : "";
    return h(
      "div",
      { class: "tower" },
      title,
      arrows(
        columns(
          h(
            "div",
            { class: `maps ${size}`, role: "group", "aria-label": layer.name },
            units.map((unit) =>
              h(
                "button",
                {
                  type: "button",
                  id: `unit-${unit}`,
                  "aria-label": `${t("map")} ${unit}, ${t("limit")} ${short(found.limits[unit])}`,
                  title: `${unit}`,
                  "aria-pressed": String(unit === chosen),
                  onclick: () => choose(unit),
                },
                mapCanvas(found, unit, scale === "layer" ? found.limits[unit] / most : 1, table),
              ),
            ),
          ),
          each,
          found.width > 20 ? 12 : 16,
        ),
      ),
    );
  };
  return h("div", { class: "towers" }, [...Array(layer.towers).keys()].map(tower));
}

export function drawUnit(run, layer, found, unit, place) {
  const tower = layer.towers > 1 ? Math.floor(unit / (found.units / layer.towers)) + 1 : null,
    flat = found.height * found.width === 1;
  const kernel = h("div"),
    patches = h("div");
  place.replaceChildren(
    h(
      "div",
      { class: "bar-head" },
      h("h2", {}, `${layer.name} · ${t(flat ? "unit" : "map")} ${unit}`),
      tower && h("span", { class: "pill" }, t("tower", { n: tower })),
    ),
    h(
      "div",
      { class: "unit" },
      flat
        ? h("p", {}, `${t("value")}: `, h("b", {}, (Math.sign(found.bytes[unit]) * found.limits[unit]).toPrecision(4)))
        : h(
            "div",
            { class: "big" },
            h(
              "figure",
              {},
              mapCanvas(found, unit),
              h(
                "figcaption",
                {},
                `${t("itsmap")} ${found.height}×${found.width}, ${t("limit")} ${short(found.limits[unit])}`,
              ),
            ),
            kernel,
          ),
      h("div", {}, h("h3", {}, t("patches")), patches),
    ),
  );
  show(kernel, ask(route(run.name, "kernel", layer.name, unit)), ({ kernel: own }) => {
    if (!own) return h("p", { class: "muted" }, t("nokernel"));
    const seen = decode(own),
      formula = h(
        "p",
        { class: "formula" },
        `${own.layer}[${unit}] = Σ w·x ${own.bias === null ? "" : `${own.bias < 0 ? "−" : "+"} ${Math.abs(own.bias).toPrecision(3)}`}`,
      );
    place.querySelector(".unit").append(formula);
    if (own.first) {
      // The limits are those of each channel; together they need one scale.
      const size = seen.height * seen.width,
        most = Math.max(...own.limits, 1e-30);
      const bytes = seen.bytes.map((value, i) => Math.round((value * own.limits[Math.floor(i / size)]) / most));
      return h(
        "figure",
        {},
        kernelCanvas(bytes, 0, own.inputs.length, seen.height, seen.width),
        h("figcaption", {}, `${t("kernel")} ${seen.height}×${seen.width}${own.inputs.length === 3 ? ", RGB" : ""}`),
      );
    }
    const previous = stages(run).map((each) => each.name),
      source = previous[previous.indexOf(own.layer) - 1];
    return h(
      "figure",
      {},
      h(
        "div",
        { class: "slices" },
        own.inputs.map((input, i) =>
          h(
            "button",
            {
              type: "button",
              title: `${source}: ${input}`,
              "aria-label": `${source}, ${t("map")} ${input}`,
              onclick: () => go({ layer: source, unit: input }),
            },
            mapCanvas(seen, i),
            String(input),
          ),
        ),
      ),
      h("figcaption", {}, t("slices", { n: own.inputs.length, of: own.of, layer: source })),
    );
  });
  show(patches, ask(route(run.name, "patches", layer.name, unit)), (gathered) => [
    h(
      "div",
      { class: "patches" },
      gathered.patches.map((each) => {
        const [x0, y0, x1, y1] = each.box,
          canvas = h("canvas", { width: 96, height: 96 }),
          image = new Image();
        image.onload = () => {
          const context = canvas.getContext("2d"),
            side = image.naturalWidth,
            w = (x1 - x0) * side,
            tall = (y1 - y0) * side,
            times = 96 / Math.max(w, tall, 1);
          context.imageSmoothingEnabled = side >= 128;
          context.drawImage(
            image,
            x0 * side,
            y0 * side,
            w,
            tall,
            (96 - w * times) / 2,
            (96 - tall * times) / 2,
            w * times,
            tall * times,
          );
        };
        image.src = pictureUrl(run, each.picture);
        return h(
          "button",
          {
            type: "button",
            title: each.file || each.picture,
            "aria-label": `${each.truth || each.picture}, ${short(each.value)}`,
            onclick: () => go({ img: each.picture, class: null }),
          },
          canvas,
          `${each.truth || ""} ${short(each.value)}`,
        );
      }),
    ),
    h("small", {}, t("among", { n: number(gathered.pictures), split: t(`split.${gathered.split}`) })),
  ]);
}
