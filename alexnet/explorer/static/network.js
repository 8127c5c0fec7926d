// Draws the network, one lane for each tower, with the strongest feature maps of each stage.

import { fetchJson, go, h, route, state, t } from "./base.js";
import { imageUrl } from "./image.js";
import { decode, mapCanvas, ramp, vectorCanvas } from "./paint.js";

const cache = new Map();

export function featureMaps(run, img, layer) {
  const key = [run.name, run.model, img, layer].join("/");
  if (!cache.has(key)) {
    if (cache.size > 80) cache.delete(cache.keys().next().value);
    const promise = fetchJson(route(run.name, "maps", img, layer)).then(decode);
    promise.catch(() => cache.delete(key));
    cache.set(key, promise);
  }
  return cache.get(key);
}

// The stages of the network: each is a layer with weights and the operations after it, up to the next such layer.
export function stages(run) {
  const list = [];
  for (const layer of run.layers) {
    if (layer.kind === "conv" || layer.kind === "fc") list.push({ ...layer, parts: [layer] });
    else if (list.length && layer.kind !== "pass") list.at(-1).parts.push(layer);
  }
  return list;
}

export function network(run, chosen) {
  const all = stages(run),
    lanes = run.towers,
    height = lanes > 1 ? 292 : 176,
    step = 126,
    left = 20;
  const width = left + 96 + all.length * step,
    middle = lanes > 1 ? [74, 206] : [86];
  const mapSide = (stage) =>
    stage.kind === "conv"
      ? 30 +
        62 *
          Math.sqrt(
            stage.shape[1] / Math.max(...all.filter((each) => each.kind === "conv").map((each) => each.shape[1])),
          )
      : 0;
  const slabWidth = (stage) => (stage.kind === "conv" ? mapSide(stage) : 24),
    slabHeight = (stage) => (stage.kind === "conv" ? mapSide(stage) : 92);
  const lanesOf = (stage) => (stage.towers > 1 ? middle : [(middle[0] + middle.at(-1)) / 2]);
  const parts = [],
    wires = [];
  const center = (middle[0] + middle.at(-1)) / 2,
    photoSide = 84;
  parts.push(
    h("image", {
      href: imageUrl(run, state.img),
      x: left,
      y: center - photoSide / 2,
      width: photoSide,
      height: photoSide,
    }),
    h("text", { class: "name", x: left + photoSide / 2, y: height - 24, "text-anchor": "middle" }, t("input")),
    h("text", { x: left + photoSide / 2, y: height - 8, "text-anchor": "middle" }, `${run.crop_size}×${run.crop_size}`),
  );
  let previousEnds = [[left + photoSide, center]];
  all.forEach((stage, i) => {
    const x = left + 96 + i * step + (step - slabWidth(stage)) / 2,
      stageLanes = lanesOf(stage),
      perTower = stage.shape[0] / stageLanes.length;
    for (const [k, y] of stageLanes.entries())
      for (const [j, [x0, y0]] of previousEnds.entries()) {
        const across = previousEnds.length > 1 && stageLanes.length > 1 && j !== k;
        if (across && !stage.meets) continue;
        const x1 = x - 3,
          bend = (x1 - x0) / 2,
          merges = previousEnds.length > 1 && stageLanes.length === 1;
        wires.push(
          h("path", {
            class: across || merges ? "cross" : "wire",
            d: `M${x0},${y0} C${x0 + bend},${y0} ${x1 - bend},${y} ${x1},${y}`,
          }),
        );
      }
    const slabs = stageLanes
      .map((y, k) => {
        const width = slabWidth(stage),
          height = slabHeight(stage),
          top = y - height / 2;
        return [
          ...(stage.kind === "conv" ? [8, 4] : []).map((shift) =>
            h("rect", { class: "slab", x: x + shift, y: top - shift, width, height, rx: 3 }),
          ),
          h("rect", { class: "slab", x, y: top, width, height, rx: 3 }),
          h("g", {
            "data-stage": stage.name,
            "data-lane": k,
            "data-box": [x + 2, top + 2, width - 4, height - 4].join(),
          }),
        ];
      })
      .flat();
    const size = stage.kind === "conv" ? `${stage.shape[1]}×${stage.shape[2]}` : "",
      count = stageLanes.length > 1 ? `${perTower}+${perTower}` : `${stage.shape[0]}`;
    const label = `${stage.name}: ${stage.shape[0]} ${t(stage.kind === "conv" ? "featuremaps" : "units")}${size ? `, ${size}` : ""}${stage.meets ? `, ${t("meets")}` : ""}`;
    const pick = () => go({ layer: stage.name, unit: null });
    parts.push(
      h(
        "g",
        {
          class: "stage",
          id: `stage-${stage.name}`,
          role: "button",
          tabindex: 0,
          "aria-label": label,
          "aria-pressed": String(stage.parts.some((each) => each.name === chosen)),
          onclick: pick,
          onkeydown: (event) => {
            if (event.key === "Enter" || event.key === " ") {
              event.preventDefault();
              pick();
            }
          },
        },
        h("rect", { class: "focus", x: left + 98 + i * step, y: 2, width: step - 4, height: height - 4, rx: 8 }),
        h("rect", { x: left + 98 + i * step, y: 2, width: step - 4, height: height - 4, fill: "transparent" }),
        slabs,
        h("text", { class: "name", x: x + slabWidth(stage) / 2, y: height - 24, "text-anchor": "middle" }, stage.name),
        h(
          "text",
          { x: x + slabWidth(stage) / 2, y: height - 8, "text-anchor": "middle" },
          `${size ? `${size} · ` : ""}${count}`,
        ),
      ),
    );
    previousEnds = stageLanes.map((y) => [x + slabWidth(stage) + (stage.kind === "conv" ? 8 : 0), y]);
  });
  const towerNames =
    lanes > 1 ? middle.map((y, k) => h("text", { x: left, y: k ? height - 46 : 14 }, t("tower", { n: k + 1 }))) : [];
  const svg = h(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("network") },
    wires,
    towerNames,
    parts,
  );
  return h(
    "div",
    { class: `net${all.length < 6 ? " narrow" : ""}`, tabindex: 0, role: "region", "aria-label": t("network") },
    svg,
  );
}

// Draws the four strongest feature maps of each tower of a stage into its slab.
export async function fillStage(run, img, svg, stage) {
  let values;
  try {
    values = await featureMaps(run, img, stage.name);
  } catch {
    return;
  }
  const table = ramp();
  for (const slab of svg.querySelectorAll(`[data-stage="${stage.name}"]`)) {
    const [x, y, width, height] = slab.dataset.box.split(",").map(Number),
      perTower = values.units / stage.towers,
      first = perTower * slab.dataset.lane;
    const image = (canvas, ...box) =>
      h("image", {
        href: canvas.toDataURL(),
        x: box[0],
        y: box[1],
        width: box[2],
        height: box[3],
        preserveAspectRatio: "none",
      });
    if (stage.kind === "fc") {
      slab.replaceChildren(
        image(vectorCanvas(values, first, perTower, Math.min(perTower, 26), table), x, y, width, height),
      );
      continue;
    }
    const units = [...Array(perTower).keys()]
        .map((i) => first + i)
        .sort((a, b) => values.limits[b] - values.limits[a])
        .slice(0, 4),
      half = width / 2;
    slab.replaceChildren(
      ...units.map((unit, i) =>
        image(mapCanvas(values, unit, 1, table), x + (i % 2) * half, y + Math.floor(i / 2) * half, half, half),
      ),
    );
  }
}
