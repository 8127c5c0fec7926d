// Look: a picture, what the network says of it, the network as two towers, and what every map and unit shows.

import { ask, chips, go, h, number, percent, route, said, show, state, t } from "./base.js";
import { drawUnit, mapGrid } from "./maps.js";
import { fillStage, mapsOf, network, stages } from "./network.js";
import { chooser, photo, topBars } from "./picture.js";

function cropFrames(crops, chosen) {
  const boxes = crops.length > 2 ? crops.slice(0, 5) : crops.slice(0, 1);
  return h(
    "svg",
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    boxes.map(({ box: [x, y, side] }, i) => {
      const on = chosen !== null && chosen % boxes.length === i;
      return h("rect", {
        x: 100 * x + 0.4,
        y: 100 * y + 0.4,
        width: 100 * side - 0.8,
        height: 100 * side - 0.8,
        fill: on ? "rgb(240 150 60 / .22)" : "none",
        stroke: on ? "#ff8c1a" : i === 2 ? "#fff" : "#ffc27d",
        "stroke-width": on ? 2.6 : 1.5,
        "stroke-dasharray": on || i === 2 ? null : "5 3",
        "vector-effect": "non-scaling-stroke",
      });
    }),
  );
}

function drawAnswers(run, place, found) {
  const frames = place.querySelector("#frames"),
    answers = place.querySelector("#answers"),
    crops = place.querySelector("#crops");
  const few = found.crops.length < 10;
  const pick = (i) => {
    const now = state.crop === String(i) ? null : i;
    go({ crop: now }, { quiet: true });
    frames.replaceChildren(cropFrames(found.crops, now));
    [...crops.children].forEach((each, j) => each.setAttribute("aria-pressed", String(j === now)));
  };
  const now = state.crop === undefined ? null : Number(state.crop);
  frames.replaceChildren(cropFrames(found.crops, now));
  crops.replaceChildren(
    ...found.crops.map((each, i) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(i === now),
          title: `${each.top.name} ${percent(each.top.probability)}`,
          "aria-label": `${t("crop")} ${i + 1}${each.mirrored ? `, ${t("mirrored")}` : ""}: ${each.top.name} ${percent(each.top.probability)}`,
          onclick: () => pick(i),
        },
        `${each.mirrored ? "⇋ " : ""}${each.top.probability.toFixed(2).replace(/^0/, "")}`,
      ),
    ),
  );
  place.querySelector("#cropnote").textContent = few ? t("nomargin") : t("cropnote");
  answers.replaceChildren(
    ...[
      found.truth && h("p", { class: "muted" }, `${t("truth")}: `, h("b", {}, found.truth)),
      h("h3", {}, t("one")),
      topBars(found.one, found.truth),
      h("h3", {}, few ? t("two") : t("ten")),
      topBars(found.ten, found.truth),
      !found.mirrors && h("p", { class: "muted" }, h("small", {}, t("nomirrors"))),
    ].filter(Boolean),
  );
}

export function drawLook(main, run, setup, again) {
  if (!state.img) {
    main.replaceChildren(
      h("section", { class: "card" }, h("h2", {}, t("look.title")), chooser(run), h("div", { id: "answers" })),
    );
    return;
  }
  const layer = run.layers.find((each) => each.name === state.layer) || stages(run)[0],
    img = state.img,
    scale = state.scale || "map";
  const stage = stages(run).find((each) => each.parts.some((part) => part.name === layer.name)) || stages(run)[0];
  if (!again || !main.querySelector("#frames")) {
    main.replaceChildren(
      h(
        "div",
        { class: "two slim" },
        h("section", { class: "card" }, h("div", { class: "bar-head" }, h("h2", {}, t("look.title"))), chooser(run)),
        h(
          "section",
          { class: "card" },
          h(
            "div",
            { class: "pic" },
            h(
              "div",
              {},
              photo(run, img, t("prepared", { n: run.prepare_size }), h("div", { id: "frames" })),
              h("div", { class: "crops", id: "crops", role: "group", "aria-label": t("crops") }),
              h("small", { id: "cropnote" }),
            ),
            h("div", { id: "answers" }),
          ),
        ),
      ),
      h(
        "section",
        { class: "card" },
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, t("network")),
          h("small", {}, t("networknote")),
          run.towers > 1 && h("span", { class: "grow" }, h("span", { class: "legend" }, h("i"), t("meet"))),
        ),
        h("div", { id: "net" }),
      ),
      h(
        "div",
        { class: "two wide" },
        h("section", { class: "card", id: "maps" }),
        h("section", { class: "card stick", id: "unit", "aria-live": "off" }),
      ),
    );
    ask(route(run.name, "answers", img))
      .then((found) => drawAnswers(run, main, found))
      .catch((error) => main.querySelector("#answers")?.replaceChildren(said(error)));
  }
  const drawn = main.querySelector("#net .net");
  if (drawn)
    for (const each of stages(run))
      drawn
        .querySelector(`#stage-${each.name}`)
        .setAttribute("aria-pressed", String(each === stage || each.name === stage.name));
  else {
    const net = network(run, layer.name);
    main.querySelector("#net").replaceChildren(net);
    for (const each of stages(run)) fillStage(run, img, net.firstChild, each);
  }
  const maps = main.querySelector("#maps"),
    unitPlace = main.querySelector("#unit");
  show(maps, mapsOf(run, img, layer.name), (found) => {
    const unit = Math.min(
      state.unit === undefined ? found.limits.indexOf(Math.max(...found.limits)) : Number(state.unit),
      found.units - 1,
    );
    // The maps come first: the unit is drawn after the frame that shows them.
    unitPlace.setAttribute("aria-busy", "true");
    requestAnimationFrame(() =>
      setTimeout(() => {
        unitPlace.removeAttribute("aria-busy");
        if (unitPlace.isConnected) drawUnit(run, layer, found, unit, unitPlace);
      }),
    );
    const choose = (next) => {
      go({ layer: layer.name, unit: next }, { quiet: true });
      for (const each of maps.querySelectorAll("[id^=unit-]"))
        each.setAttribute("aria-pressed", String(each.id === `unit-${next}`));
      drawUnit(run, layer, found, next, unitPlace);
    };
    const shape =
      found.height * found.width > 1
        ? `${found.height}×${found.width} · ${number(found.units)} ${t("maps")}`
        : `${number(found.units)} ${t("units")}`;
    return [
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, `${layer.name}`),
        h("small", {}, `${shape}${layer.parameters ? ` · ${number(layer.parameters)} ${t("weights")}` : ""}`),
        h(
          "span",
          { class: "grow" },
          found.height > 1 &&
            chips(
              t("scale"),
              [
                ["map", t("permap")],
                ["layer", t("perlayer")],
              ],
              scale,
              (value) => go({ scale: value }),
            ),
          h("span", { class: "legend" }, "−", h("span", { class: "ramp" }), "+"),
        ),
      ),
      stage.parts.length > 1 &&
        h(
          "p",
          {},
          chips(
            t("parts"),
            stage.parts.map((each) => [each.name, each.name]),
            layer.name,
            (value) => go({ layer: value, unit: null }),
          ),
        ),
      mapGrid(run, layer, found, unit, scale, choose),
    ];
  });
}
