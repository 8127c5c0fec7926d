// Draws all feature maps of a layer, and one unit: its feature map, its kernel, and the patches that excite it most.

import { fetchJson, go, h, number, route, short, show, t, withArrowKeys, withColumns } from "./base.js";
import { imageUrl } from "./image.js";
import { stages } from "./network.js";
import { decode, kernelCanvas, mapCanvas, ramp } from "./paint.js";

export function mapGrid(run, layer, values, chosen, scale, choose) {
  const table = ramp(),
    maximum = Math.max(...values.limits, 1e-30),
    perTower = values.units / layer.towers,
    flat = values.height * values.width === 1;
  const drawTower = (k) => {
    const units = [...Array(perTower).keys()].map((i) => k * perTower + i);
    const title =
      layer.towers > 1 ? h("h3", {}, `${t("tower", { n: k + 1 })} · ${k * perTower}–${(k + 1) * perTower - 1}`) : "";
    if (flat) {
      const names =
        perTower === run.classes.length && layer.towers === 1 && layer.name === run.layers.at(-1).name
          ? run.classes
          : null;
      const value = (unit) => Math.sign(values.bytes[unit]) * values.limits[unit];
      const strongest = units.sort((a, b) => value(b) - value(a)).slice(0, 24);
      const grid = h(
        "div",
        { class: "bars", role: "group", "aria-label": layer.name },
        strongest.map((unit) => {
          const fill = h("span", { class: "fill" });
          fill.style.width = `${Math.max(0, (100 * value(unit)) / maximum)}%`;
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
        perTower > 24 && h("small", {}, t("strongest", { n: 24, of: number(perTower) })),
        withArrowKeys(grid),
      );
    }
    const size = values.width > 20 ? "l" : values.width < 8 ? "s" : "";
    return h(
      "div",
      { class: "tower" },
      title,
      withArrowKeys(
        withColumns(
          h(
            "div",
            { class: `maps ${size}`, role: "group", "aria-label": layer.name },
            units.map((unit) =>
              h(
                "button",
                {
                  type: "button",
                  id: `unit-${unit}`,
                  "aria-label": `${t("featuremap")} ${unit}, ${t("limit")} ${short(values.limits[unit])}`,
                  title: `${unit}`,
                  "aria-pressed": String(unit === chosen),
                  onclick: () => choose(unit),
                },
                mapCanvas(values, unit, scale === "layer" ? values.limits[unit] / maximum : 1, table),
              ),
            ),
          ),
          perTower,
          values.width > 20 ? 12 : 16,
        ),
      ),
    );
  };
  return h("div", { class: "towers" }, [...Array(layer.towers).keys()].map(drawTower));
}

export function drawUnit(run, layer, values, unit, card) {
  const tower = layer.towers > 1 ? Math.floor(unit / (values.units / layer.towers)) + 1 : null,
    flat = values.height * values.width === 1;
  const kernelBox = h("div"),
    patchesBox = h("div");
  card.replaceChildren(
    h(
      "div",
      { class: "bar-head" },
      h("h2", {}, `${layer.name} · ${t(flat ? "unit" : "featuremap")} ${unit}`),
      tower && h("span", { class: "pill" }, t("tower", { n: tower })),
    ),
    h(
      "div",
      { class: "unit" },
      flat
        ? h(
            "p",
            {},
            `${t("value")}: `,
            h("b", {}, (Math.sign(values.bytes[unit]) * values.limits[unit]).toPrecision(4)),
          )
        : h(
            "div",
            { class: "big" },
            h(
              "figure",
              {},
              mapCanvas(values, unit),
              h(
                "figcaption",
                {},
                `${t("itsfeaturemap")} ${values.height}×${values.width}, ${t("limit")} ${short(values.limits[unit])}`,
              ),
            ),
            kernelBox,
          ),
      h("div", {}, h("h3", {}, t("patches")), patchesBox),
    ),
  );
  show(kernelBox, fetchJson(route(run.name, "kernel", layer.name, unit)), ({ kernel }) => {
    if (!kernel) return h("p", { class: "muted" }, t("nokernel"));
    const weights = decode(kernel),
      formula = h(
        "p",
        { class: "formula" },
        `${kernel.layer}[${unit}] = Σ w·x ${kernel.bias === null ? "" : `${kernel.bias < 0 ? "−" : "+"} ${Math.abs(kernel.bias).toPrecision(3)}`}`,
      );
    card.querySelector(".unit").append(formula);
    if (kernel.first) {
      // Each channel has its own limit; drawn together, they need one scale.
      const size = weights.height * weights.width,
        maximum = Math.max(...kernel.limits, 1e-30);
      const bytes = weights.bytes.map((value, i) =>
        Math.round((value * kernel.limits[Math.floor(i / size)]) / maximum),
      );
      return h(
        "figure",
        {},
        kernelCanvas(bytes, 0, kernel.inputs.length, weights.height, weights.width),
        h(
          "figcaption",
          {},
          `${t("kernel")} ${weights.height}×${weights.width}${kernel.inputs.length === 3 ? ", RGB" : ""}`,
        ),
      );
    }
    const stageNames = stages(run).map((each) => each.name),
      source = stageNames[stageNames.indexOf(kernel.layer) - 1];
    return h(
      "figure",
      {},
      h(
        "div",
        { class: "slices" },
        kernel.inputs.map((input, i) =>
          h(
            "button",
            {
              type: "button",
              title: `${source}: ${input}`,
              "aria-label": `${source}, ${t("featuremap")} ${input}`,
              onclick: () => go({ layer: source, unit: input }),
            },
            mapCanvas(weights, i),
            String(input),
          ),
        ),
      ),
      h("figcaption", {}, t("slices", { n: kernel.inputs.length, of: kernel.of, layer: source })),
    );
  });
  show(patchesBox, fetchJson(route(run.name, "patches", layer.name, unit)), (data) => [
    h(
      "div",
      { class: "patches" },
      data.patches.map((each) => {
        const [x0, y0, x1, y1] = each.box,
          canvas = h("canvas", { width: 96, height: 96 }),
          image = new Image();
        image.onload = () => {
          const context = canvas.getContext("2d"),
            side = image.naturalWidth,
            width = (x1 - x0) * side,
            height = (y1 - y0) * side,
            factor = 96 / Math.max(width, height, 1);
          context.imageSmoothingEnabled = side >= 128;
          context.drawImage(
            image,
            x0 * side,
            y0 * side,
            width,
            height,
            (96 - width * factor) / 2,
            (96 - height * factor) / 2,
            width * factor,
            height * factor,
          );
        };
        image.src = imageUrl(run, each.image);
        return h(
          "button",
          {
            type: "button",
            title: each.file || each.image,
            "aria-label": `${each.truth || each.image}, ${short(each.value)}`,
            onclick: () => go({ img: each.image, class: null }),
          },
          canvas,
          `${each.truth || ""} ${short(each.value)}`,
        );
      }),
    ),
    h("small", {}, t("among", { n: number(data.images), split: t(`split.${data.split}`) })),
  ]);
}
