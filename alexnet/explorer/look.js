// Look: a picture, what the network says of it, the network as two towers, and what every map and unit shows.

import { arrows, ask, chips, columns, go, h, number, percent, route, said, short, show, state, t } from "./base.js";
import { decode, kernelCanvas, mapCanvas, ramp, vectorCanvas } from "./paint.js";

const cache = new Map();
let current = null;

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
export const pictureUrl = (run, img) => route(run.name, "picture", img);

export async function usePicture(file) {
  const place = document.getElementById("answers");
  try {
    const found = await ask(`/explorer/images?run=${encodeURIComponent(current.name)}`, { method: "POST", body: file });
    go({ tab: state.tab === "why" || state.tab === "similar" ? state.tab : "look", img: found.picture, class: null, crop: null });
    const bars = document.getElementById("answers");
    // What one view says has come with the picture's name; ten views follow.
    if (bars && !bars.querySelector(".bars")) bars.replaceChildren(h("h3", {}, t("one")), topBars(found.one));
  } catch (error) { (place || document.getElementById("main")).prepend(said(error)); }
}

export function topBars(top, truth = null, choose = null, chosen = null) {
  return h("ol", { class: "bars" }, top.map((each) => {
    const fill = h("span", { class: "fill" });
    fill.style.width = `${100 * each.probability}%`;
    const inside = [fill, h("b", {}, each.name), h("span", {}, percent(each.probability))];
    const kind = each.name === truth ? "true" : null;
    return choose ? h("li", { class: kind }, h("button", { type: "button", "aria-pressed": String(each.index === chosen), onclick: () => choose(each.index) }, inside)) : h("li", { class: kind }, inside);
  }));
}

export function photo(run, img, alt, ...over) {
  return h("div", { class: `photo${run.prepare_size < 128 ? " tiny" : ""}` }, h("img", { src: pictureUrl(run, img), alt }), over);
}

export function chooser(run) {
  const input = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => input.files[0] && usePicture(input.files[0]) });
  return h("div", {},
    h("div", { class: "drop" }, h("span", {}, t("drop")), input,
      h("button", { type: "button", onclick: () => input.click() }, t("choose")),
      navigator.mediaDevices && h("button", { type: "button", onclick: () => webcam() }, t("webcam"))),
    arrows(h("div", { class: "samples", role: "group", "aria-label": t("samples") }, run.samples.map((each) =>
      h("button", { type: "button", title: each.truth || each.file, "aria-label": `${t("sample")} ${each.picture}: ${each.truth || ""}`, "aria-pressed": String(each.picture === state.img), onclick: () => go({ img: each.picture, class: null, crop: null }) },
        h("img", { src: pictureUrl(run, each.picture), alt: "", loading: "lazy" }))))),
    run.missing && h("p", { class: "muted" }, t("missing", { why: run.missing })));
}

async function webcam() {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } }); } catch { document.getElementById("answers")?.replaceChildren(said(new Error(t("nocam")))); return; }
  const video = h("video", { autoplay: true, playsinline: true, srcObject: stream });
  video.muted = true;
  const stop = () => { for (const track of stream.getTracks()) track.stop(); dialog.remove(); };
  const dialog = h("dialog", { "aria-label": t("webcam"), onclose: stop }, video, h("div", { class: "chips" },
    h("button", { class: "main", type: "button", onclick: () => {
      const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => { dialog.close(); usePicture(blob); }, "image/jpeg", 0.92);
    } }, t("shoot")), h("button", { type: "button", onclick: () => dialog.close() }, t("cancel"))));
  document.body.append(dialog);
  dialog.showModal();
}

function cropFrames(crops, chosen) {
  const boxes = crops.length > 2 ? crops.slice(0, 5) : crops.slice(0, 1);
  return h("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, boxes.map(({ box: [x, y, side] }, i) => {
    const on = chosen !== null && chosen % boxes.length === i;
    return h("rect", { x: 100 * x + .4, y: 100 * y + .4, width: 100 * side - .8, height: 100 * side - .8, fill: on ? "rgb(240 150 60 / .22)" : "none", stroke: on ? "#ff8c1a" : i === 2 ? "#fff" : "#ffc27d", "stroke-width": on ? 2.6 : 1.5, "stroke-dasharray": on || i === 2 ? null : "5 3", "vector-effect": "non-scaling-stroke" });
  }));
}

function drawAnswers(run, place, found) {
  const frames = place.querySelector("#frames"), answers = place.querySelector("#answers"), crops = place.querySelector("#crops");
  const few = found.crops.length < 10;
  const pick = (i) => {
    const now = state.crop === String(i) ? null : i;
    go({ crop: now }, { quiet: true });
    frames.replaceChildren(cropFrames(found.crops, now));
    [...crops.children].forEach((each, j) => each.setAttribute("aria-pressed", String(j === now)));
  };
  const now = state.crop === undefined ? null : Number(state.crop);
  frames.replaceChildren(cropFrames(found.crops, now));
  crops.replaceChildren(...found.crops.map((each, i) => h("button", { type: "button", "aria-pressed": String(i === now), title: `${each.top.name} ${percent(each.top.probability)}`, "aria-label": `${t("crop")} ${i + 1}${each.mirrored ? `, ${t("mirrored")}` : ""}: ${each.top.name} ${percent(each.top.probability)}`, onclick: () => pick(i) },
    `${each.mirrored ? "⇋ " : ""}${each.top.probability.toFixed(2).replace(/^0/, "")}`)));
  place.querySelector("#cropnote").textContent = few ? t("nomargin") : t("cropnote");
  answers.replaceChildren(...[
    found.truth && h("p", { class: "muted" }, `${t("truth")}: `, h("b", {}, found.truth)),
    h("h3", {}, t("one")), topBars(found.one, found.truth), h("h3", {}, few ? t("two") : t("ten")), topBars(found.ten, found.truth),
    !found.mirrors && h("p", { class: "muted" }, h("small", {}, t("nomirrors")))].filter(Boolean));
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

function network(run, chosen) {
  const all = stages(run), lanes = run.towers, height = lanes > 1 ? 292 : 176, step = 126, left = 20;
  const width = left + 96 + all.length * step, middle = lanes > 1 ? [74, 206] : [86];
  const side = (stage) => stage.kind === "conv" ? 30 + 62 * Math.sqrt(stage.shape[1] / Math.max(...all.filter((each) => each.kind === "conv").map((each) => each.shape[1]))) : 0;
  const wide = (stage) => stage.kind === "conv" ? side(stage) : 24, tall = (stage) => stage.kind === "conv" ? side(stage) : 92;
  const laneOf = (stage) => stage.towers > 1 ? middle : [(middle[0] + middle.at(-1)) / 2];
  const parts = [], wires = [];
  const center = (middle[0] + middle.at(-1)) / 2, photoSide = 84;
  parts.push(h("image", { href: pictureUrl(run, state.img), x: left, y: center - photoSide / 2, width: photoSide, height: photoSide }),
    h("text", { class: "name", x: left + photoSide / 2, y: height - 24, "text-anchor": "middle" }, t("input")), h("text", { x: left + photoSide / 2, y: height - 8, "text-anchor": "middle" }, `${run.crop_size}×${run.crop_size}`));
  let before = [[left + photoSide, center]];
  all.forEach((stage, i) => {
    const x = left + 96 + i * step + (step - wide(stage)) / 2, lanesHere = laneOf(stage), split = stage.shape[0] / lanesHere.length;
    for (const [k, y] of lanesHere.entries()) for (const [j, [x0, y0]] of before.entries()) {
      const across = before.length > 1 && lanesHere.length > 1 && j !== k;
      if (across && !stage.meets) continue;
      const x1 = x - 3, bend = (x1 - x0) / 2, merges = before.length > 1 && lanesHere.length === 1;
      wires.push(h("path", { class: across || merges ? "cross" : "wire", d: `M${x0},${y0} C${x0 + bend},${y0} ${x1 - bend},${y} ${x1},${y}` }));
    }
    const slabs = lanesHere.map((y, k) => {
      const w = wide(stage), s = tall(stage), top = y - s / 2;
      return [...(stage.kind === "conv" ? [8, 4] : []).map((shift) => h("rect", { class: "slab", x: x + shift, y: top - shift, width: w, height: s, rx: 3 })),
        h("rect", { class: "slab", x, y: top, width: w, height: s, rx: 3 }), h("g", { "data-stage": stage.name, "data-lane": k, "data-box": [x + 2, top + 2, w - 4, s - 4].join() })];
    }).flat();
    const size = stage.kind === "conv" ? `${stage.shape[1]}×${stage.shape[2]}` : "", maps = lanesHere.length > 1 ? `${split}+${split}` : `${stage.shape[0]}`;
    const label = `${stage.name}: ${stage.shape[0]} ${t(stage.kind === "conv" ? "maps" : "units")}${size ? `, ${size}` : ""}${stage.meets ? `, ${t("meets")}` : ""}`;
    const pick = () => go({ layer: stage.name, unit: null });
    parts.push(h("g", { class: "stage", id: `stage-${stage.name}`, role: "button", tabindex: 0, "aria-label": label, "aria-pressed": String(stage.parts.some((each) => each.name === chosen)), onclick: pick, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } } },
      h("rect", { class: "focus", x: left + 98 + i * step, y: 2, width: step - 4, height: height - 4, rx: 8 }), h("rect", { x: left + 98 + i * step, y: 2, width: step - 4, height: height - 4, fill: "transparent" }), slabs,
      h("text", { class: "name", x: x + wide(stage) / 2, y: height - 24, "text-anchor": "middle" }, stage.name), h("text", { x: x + wide(stage) / 2, y: height - 8, "text-anchor": "middle" }, `${size ? `${size} · ` : ""}${maps}`)));
    before = lanesHere.map((y) => [x + wide(stage) + (stage.kind === "conv" ? 8 : 0), y]);
  });
  const named = lanes > 1 ? middle.map((y, k) => h("text", { x: left, y: k ? height - 46 : 14 }, t("tower", { n: k + 1 }))) : [];
  const svg = h("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": t("network") }, wires, named, parts);
  return h("div", { class: `net${all.length < 6 ? " narrow" : ""}`, tabindex: 0, role: "region", "aria-label": t("network") }, svg);
}

// The four strongest maps of each tower of a stage, drawn into its slab.
async function fillStage(run, img, svg, stage) {
  let found;
  try { found = await mapsOf(run, img, stage.name); } catch { return; }
  const table = ramp();
  for (const place of svg.querySelectorAll(`[data-stage="${stage.name}"]`)) {
    const [x, y, w, tall] = place.dataset.box.split(",").map(Number), lanes = stage.towers, each = found.units / lanes, first = each * place.dataset.lane;
    const image = (canvas, ...box) => h("image", { href: canvas.toDataURL(), x: box[0], y: box[1], width: box[2], height: box[3], preserveAspectRatio: "none" });
    if (stage.kind === "fc") { place.replaceChildren(image(vectorCanvas(found, first, each, Math.min(each, 26), table), x, y, w, tall)); continue; }
    const units = [...Array(each).keys()].map((i) => first + i).sort((a, b) => found.limits[b] - found.limits[a]).slice(0, 4), half = w / 2;
    place.replaceChildren(...units.map((unit, i) => image(mapCanvas(found, unit, 1, table), x + (i % 2) * half, y + Math.floor(i / 2) * half, half, half)));
  }
}

function mapGrid(run, layer, found, chosen, scale, choose) {
  const table = ramp(), most = Math.max(...found.limits, 1e-30), each = found.units / layer.towers, flat = found.height * found.width === 1;
  const tower = (k) => {
    const units = [...Array(each).keys()].map((i) => k * each + i);
    const title = layer.towers > 1 ? h("h3", {}, `${t("tower", { n: k + 1 })} · ${k * each}–${(k + 1) * each - 1}`) : "";
    if (flat) {
      const names = each === run.classes.length && layer.towers === 1 && layer.name === run.layers.at(-1).name ? run.classes : null;
      const value = (unit) => Math.sign(found.bytes[unit]) * found.limits[unit];
      const strongest = units.sort((a, b) => value(b) - value(a)).slice(0, 24);
      const grid = h("div", { class: "bars", role: "group", "aria-label": layer.name }, strongest.map((unit) => {
        const fill = h("span", { class: "fill" });
        fill.style.width = `${Math.max(0, 100 * value(unit) / most)}%`;
        return h("button", { type: "button", id: `unit-${unit}`, "aria-pressed": String(unit === chosen), onclick: () => choose(unit) }, fill, h("b", {}, names ? names[unit] : `${t("unit")} ${unit}`), h("span", {}, value(unit).toPrecision(3)));
      }));
      return h("div", { class: "tower" }, title, each > 24 && h("small", {}, t("strongest", { n: 24, of: number(each) })), arrows(grid));
    }
    const size = found.width > 20 ? "l" : found.width < 8 ? "s" : "";
    return h("div", { class: "tower" }, title, arrows(columns(h("div", { class: `maps ${size}`, role: "group", "aria-label": layer.name }, units.map((unit) =>
      h("button", { type: "button", id: `unit-${unit}`, "aria-label": `${t("map")} ${unit}, ${t("limit")} ${short(found.limits[unit])}`, title: `${unit}`, "aria-pressed": String(unit === chosen), onclick: () => choose(unit) },
        mapCanvas(found, unit, scale === "layer" ? found.limits[unit] / most : 1, table)))), each, found.width > 20 ? 12 : 16)));
  };
  return h("div", { class: "towers" }, [...Array(layer.towers).keys()].map(tower));
}

function drawUnit(run, layer, found, unit, place) {
  const tower = layer.towers > 1 ? Math.floor(unit / (found.units / layer.towers)) + 1 : null, flat = found.height * found.width === 1;
  const kernel = h("div"), patches = h("div");
  place.replaceChildren(h("div", { class: "bar-head" }, h("h2", {}, `${layer.name} · ${t(flat ? "unit" : "map")} ${unit}`), tower && h("span", { class: "pill" }, t("tower", { n: tower }))),
    h("div", { class: "unit" },
      flat ? h("p", {}, `${t("value")}: `, h("b", {}, (Math.sign(found.bytes[unit]) * found.limits[unit]).toPrecision(4))) : h("div", { class: "big" }, h("figure", {}, mapCanvas(found, unit), h("figcaption", {}, `${t("itsmap")} ${found.height}×${found.width}, ${t("limit")} ${short(found.limits[unit])}`)), kernel),
      h("div", {}, h("h3", {}, t("patches")), patches)));
  show(kernel, ask(route(run.name, "kernel", layer.name, unit)), ({ kernel: own }) => {
    if (!own) return h("p", { class: "muted" }, t("nokernel"));
    const seen = decode(own), formula = h("p", { class: "formula" }, `${own.layer}[${unit}] = Σ w·x ${own.bias === null ? "" : `${own.bias < 0 ? "−" : "+"} ${Math.abs(own.bias).toPrecision(3)}`}`);
    place.querySelector(".unit").append(formula);
    if (own.first) {
      // The limits are those of each channel; together they need one scale.
      const size = seen.height * seen.width, most = Math.max(...own.limits, 1e-30);
      const bytes = seen.bytes.map((value, i) => Math.round(value * own.limits[Math.floor(i / size)] / most));
      return h("figure", {}, kernelCanvas(bytes, 0, own.inputs.length, seen.height, seen.width), h("figcaption", {}, `${t("kernel")} ${seen.height}×${seen.width}${own.inputs.length === 3 ? ", RGB" : ""}`));
    }
    const previous = stages(run).map((each) => each.name), source = previous[previous.indexOf(own.layer) - 1];
    return h("figure", {}, h("div", { class: "slices" }, own.inputs.map((input, i) => h("button", { type: "button", title: `${source}: ${input}`, "aria-label": `${source}, ${t("map")} ${input}`, onclick: () => go({ layer: source, unit: input }) }, mapCanvas(seen, i), String(input)))), h("figcaption", {}, t("slices", { n: own.inputs.length, of: own.of, layer: source })));
  });
  show(patches, ask(route(run.name, "patches", layer.name, unit)), (gathered) => [
    h("div", { class: "patches" }, gathered.patches.map((each) => {
      const [x0, y0, x1, y1] = each.box, canvas = h("canvas", { width: 96, height: 96 }), image = new Image();
      image.onload = () => {
        const context = canvas.getContext("2d"), side = image.naturalWidth, w = (x1 - x0) * side, tall = (y1 - y0) * side, times = 96 / Math.max(w, tall, 1);
        context.imageSmoothingEnabled = side >= 128;
        context.drawImage(image, x0 * side, y0 * side, w, tall, (96 - w * times) / 2, (96 - tall * times) / 2, w * times, tall * times);
      };
      image.src = pictureUrl(run, each.picture);
      return h("button", { type: "button", title: each.file || each.picture, "aria-label": `${each.truth || each.picture}, ${short(each.value)}`, onclick: () => go({ img: each.picture, class: null }) }, canvas, `${each.truth || ""} ${short(each.value)}`);
    })), h("small", {}, t("among", { n: number(gathered.pictures), split: t(`split.${gathered.split}`) }))]);
}

export function drawLook(main, run, setup, again) {
  current = run;
  if (!state.img) { main.replaceChildren(h("section", { class: "card" }, h("h2", {}, t("look.title")), chooser(run), h("div", { id: "answers" }))); return; }
  const layer = run.layers.find((each) => each.name === state.layer) || stages(run)[0], img = state.img, scale = state.scale || "map";
  const stage = stages(run).find((each) => each.parts.some((part) => part.name === layer.name)) || stages(run)[0];
  if (!again || !main.querySelector("#frames")) {
    main.replaceChildren(
      h("div", { class: "two slim" },
        h("section", { class: "card" }, h("div", { class: "bar-head" }, h("h2", {}, t("look.title"))), chooser(run)),
        h("section", { class: "card" }, h("div", { class: "pic" },
          h("div", {}, photo(run, img, t("prepared", { n: run.prepare_size }), h("div", { id: "frames" })), h("div", { class: "crops", id: "crops", role: "group", "aria-label": t("crops") }), h("small", { id: "cropnote" })),
          h("div", { id: "answers" })))),
      h("section", { class: "card" }, h("div", { class: "bar-head" }, h("h2", {}, t("network")), h("small", {}, t("networknote")), run.towers > 1 && h("span", { class: "grow" }, h("span", { class: "legend" }, h("i"), t("meet")))), h("div", { id: "net" })),
      h("div", { class: "two wide" }, h("section", { class: "card", id: "maps" }), h("section", { class: "card stick", id: "unit", "aria-live": "off" })));
    ask(route(run.name, "answers", img)).then((found) => drawAnswers(run, main, found)).catch((error) => main.querySelector("#answers")?.replaceChildren(said(error)));
  }
  const drawn = main.querySelector("#net .net");
  if (drawn) for (const each of stages(run)) drawn.querySelector(`#stage-${each.name}`).setAttribute("aria-pressed", String(each === stage || each.name === stage.name));
  else {
    const net = network(run, layer.name);
    main.querySelector("#net").replaceChildren(net);
    for (const each of stages(run)) fillStage(run, img, net.firstChild, each);
  }
  const maps = main.querySelector("#maps"), unitPlace = main.querySelector("#unit");
  show(maps, mapsOf(run, img, layer.name), (found) => {
    const unit = Math.min(state.unit === undefined ? found.limits.indexOf(Math.max(...found.limits)) : Number(state.unit), found.units - 1);
    // The maps come first: the unit is drawn after the frame that shows them.
    unitPlace.setAttribute("aria-busy", "true");
    requestAnimationFrame(() => setTimeout(() => { unitPlace.removeAttribute("aria-busy"); if (unitPlace.isConnected) drawUnit(run, layer, found, unit, unitPlace); }));
    const choose = (next) => {
      go({ layer: layer.name, unit: next }, { quiet: true });
      for (const each of maps.querySelectorAll("[id^=unit-]")) each.setAttribute("aria-pressed", String(each.id === `unit-${next}`));
      drawUnit(run, layer, found, next, unitPlace);
    };
    const shape = found.height * found.width > 1 ? `${found.height}×${found.width} · ${number(found.units)} ${t("maps")}` : `${number(found.units)} ${t("units")}`;
    return [h("div", { class: "bar-head" }, h("h2", {}, `${layer.name}`), h("small", {}, `${shape}${layer.parameters ? ` · ${number(layer.parameters)} ${t("weights")}` : ""}`),
      h("span", { class: "grow" }, found.height > 1 && chips(t("scale"), [["map", t("permap")], ["layer", t("perlayer")]], scale, (value) => go({ scale: value })), h("span", { class: "legend" }, "−", h("span", { class: "ramp" }), "+"))),
      stage.parts.length > 1 && h("p", {}, chips(t("parts"), stage.parts.map((each) => [each.name, each.name]), layer.name, (value) => go({ layer: value, unit: null }))), mapGrid(run, layer, found, unit, scale, choose)];
  });
}
