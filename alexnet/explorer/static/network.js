// The network as a drawing, one lane for each tower; the strongest maps of each stage in their place.

import { ask, go, h, route, state, t } from "./base.js";
import { decode, mapCanvas, ramp, vectorCanvas } from "./paint.js";
import { pictureUrl } from "./picture.js";

const cache = new Map();

export function mapsOf(run, img, layer) {
  const key = [run.name, run.model, img, layer].join("/");
  if (!cache.has(key)) {
    if (cache.size > 80) cache.delete(cache.keys().next().value);
    const promise = ask(route(run.name, "maps", img, layer)).then(decode);
    promise.catch(() => cache.delete(key));
    cache.set(key, promise);
  }
  return cache.get(key);
}

// The stages of the network: a weighted layer and what follows it, up to the next.
export function stages(run) {
  const out = [];
  for (const layer of run.layers) {
    if (layer.kind === "conv" || layer.kind === "fc") out.push({ ...layer, parts: [layer] });
    else if (out.length && layer.kind !== "pass") out.at(-1).parts.push(layer);
  }
  return out;
}

export function network(run, chosen) {
  const all = stages(run),
    lanes = run.towers,
    height = lanes > 1 ? 292 : 176,
    step = 126,
    left = 20;
  const width = left + 96 + all.length * step,
    middle = lanes > 1 ? [74, 206] : [86];
  const side = (stage) =>
    stage.kind === "conv"
      ? 30 +
        62 *
          Math.sqrt(
            stage.shape[1] / Math.max(...all.filter((each) => each.kind === "conv").map((each) => each.shape[1])),
          )
      : 0;
  const wide = (stage) => (stage.kind === "conv" ? side(stage) : 24),
    tall = (stage) => (stage.kind === "conv" ? side(stage) : 92);
  const laneOf = (stage) => (stage.towers > 1 ? middle : [(middle[0] + middle.at(-1)) / 2]);
  const parts = [],
    wires = [];
  const center = (middle[0] + middle.at(-1)) / 2,
    photoSide = 84;
  parts.push(
    h("image", {
      href: pictureUrl(run, state.img),
      x: left,
      y: center - photoSide / 2,
      width: photoSide,
      height: photoSide,
    }),
    h("text", { class: "name", x: left + photoSide / 2, y: height - 24, "text-anchor": "middle" }, t("input")),
    h("text", { x: left + photoSide / 2, y: height - 8, "text-anchor": "middle" }, `${run.crop_size}×${run.crop_size}`),
  );
  let before = [[left + photoSide, center]];
  all.forEach((stage, i) => {
    const x = left + 96 + i * step + (step - wide(stage)) / 2,
      lanesHere = laneOf(stage),
      split = stage.shape[0] / lanesHere.length;
    for (const [k, y] of lanesHere.entries())
      for (const [j, [x0, y0]] of before.entries()) {
        const across = before.length > 1 && lanesHere.length > 1 && j !== k;
        if (across && !stage.meets) continue;
        const x1 = x - 3,
          bend = (x1 - x0) / 2,
          merges = before.length > 1 && lanesHere.length === 1;
        wires.push(
          h("path", {
            class: across || merges ? "cross" : "wire",
            d: `M${x0},${y0} C${x0 + bend},${y0} ${x1 - bend},${y} ${x1},${y}`,
          }),
        );
      }
    const slabs = lanesHere
      .map((y, k) => {
        const w = wide(stage),
          s = tall(stage),
          top = y - s / 2;
        return [
          ...(stage.kind === "conv" ? [8, 4] : []).map((shift) =>
            h("rect", { class: "slab", x: x + shift, y: top - shift, width: w, height: s, rx: 3 }),
          ),
          h("rect", { class: "slab", x, y: top, width: w, height: s, rx: 3 }),
          h("g", { "data-stage": stage.name, "data-lane": k, "data-box": [x + 2, top + 2, w - 4, s - 4].join() }),
        ];
      })
      .flat();
    const size = stage.kind === "conv" ? `${stage.shape[1]}×${stage.shape[2]}` : "",
      maps = lanesHere.length > 1 ? `${split}+${split}` : `${stage.shape[0]}`;
    const label = `${stage.name}: ${stage.shape[0]} ${t(stage.kind === "conv" ? "maps" : "units")}${size ? `, ${size}` : ""}${stage.meets ? `, ${t("meets")}` : ""}`;
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
        h("text", { class: "name", x: x + wide(stage) / 2, y: height - 24, "text-anchor": "middle" }, stage.name),
        h(
          "text",
          { x: x + wide(stage) / 2, y: height - 8, "text-anchor": "middle" },
          `${size ? `${size} · ` : ""}${maps}`,
        ),
      ),
    );
    before = lanesHere.map((y) => [x + wide(stage) + (stage.kind === "conv" ? 8 : 0), y]);
  });
  const named =
    lanes > 1 ? middle.map((y, k) => h("text", { x: left, y: k ? height - 46 : 14 }, t("tower", { n: k + 1 }))) : [];
  const svg = h(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("network") },
    wires,
    named,
    parts,
  );
  return h(
    "div",
    { class: `net${all.length < 6 ? " narrow" : ""}`, tabindex: 0, role: "region", "aria-label": t("network") },
    svg,
  );
}

// The four strongest maps of each tower of a stage, drawn into its slab.
export async function fillStage(run, img, svg, stage) {
  let found;
  try {
    found = await mapsOf(run, img, stage.name);
  } catch {
    return;
  }
  const table = ramp();
  for (const place of svg.querySelectorAll(`[data-stage="${stage.name}"]`)) {
    const [x, y, w, tall] = place.dataset.box.split(",").map(Number),
      lanes = stage.towers,
      each = found.units / lanes,
      first = each * place.dataset.lane;
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
      place.replaceChildren(image(vectorCanvas(found, first, each, Math.min(each, 26), table), x, y, w, tall));
      continue;
    }
    const units = [...Array(each).keys()]
        .map((i) => first + i)
        .sort((a, b) => found.limits[b] - found.limits[a])
        .slice(0, 4),
      half = w / 2;
    place.replaceChildren(
      ...units.map((unit, i) =>
        image(mapCanvas(found, unit, 1, table), x + (i % 2) * half, y + Math.floor(i / 2) * half, half, half),
      ),
    );
  }
}
