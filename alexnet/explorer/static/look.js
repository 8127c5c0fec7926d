// The tab Look: an image, its most probable classes, the network with its towers, and every feature map and unit.

import { chips, errorMessage, fetchJson, go, h, number, percent, route, show, state, t } from "./base.js";
import { chooser, photo, topBars } from "./image.js";
import { drawUnit, mapGrid } from "./maps.js";
import { sureAnswer, sureChoices, sureQuery } from "./sure.js";
import { featureMaps, fillStage, network, stages } from "./network.js";

function cropFrames(crops, chosen) {
  const boxes = crops.length > 2 ? crops.slice(0, 5) : crops.slice(0, 1);
  return h(
    "svg",
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
    boxes.map(({ box: [x, y, side] }, i) => {
      const highlighted = chosen !== null && chosen % boxes.length === i;
      return h("rect", {
        x: 100 * x + 0.4,
        y: 100 * y + 0.4,
        width: 100 * side - 0.8,
        height: 100 * side - 0.8,
        fill: highlighted ? "rgb(240 150 60 / .22)" : "none",
        stroke: highlighted ? "#ff8c1a" : i === 2 ? "#fff" : "#ffc27d",
        "stroke-width": highlighted ? 2.6 : 1.5,
        "stroke-dasharray": highlighted || i === 2 ? null : "5 3",
        "vector-effect": "non-scaling-stroke",
      });
    }),
  );
}

function drawAnswers(run, main, data) {
  const frames = main.querySelector("#frames"),
    answers = main.querySelector("#answers"),
    crops = main.querySelector("#crops");
  const noMargin = data.crops.length < 10;
  const pick = (i) => {
    const crop = state.crop === String(i) ? null : i;
    go({ crop }, { quiet: true });
    frames.replaceChildren(cropFrames(data.crops, crop));
    [...crops.children].forEach((each, j) => each.setAttribute("aria-pressed", String(j === crop)));
  };
  const chosen = state.crop === undefined ? null : Number(state.crop);
  frames.replaceChildren(cropFrames(data.crops, chosen));
  crops.replaceChildren(
    ...data.crops.map((each, i) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(i === chosen),
          title: `${each.top.name} ${percent(each.top.probability)}`,
          "aria-label": `${t("crop")} ${i + 1}${each.mirrored ? `, ${t("flipped")}` : ""}: ${each.top.name} ${percent(each.top.probability)}`,
          onclick: () => pick(i),
        },
        `${each.mirrored ? "⇋ " : ""}${each.top.probability.toFixed(2).replace(/^0/, "")}`,
      ),
    ),
  );
  main.querySelector("#cropnote").textContent = noMargin ? t("nomargin") : t("cropnote");
  answers.replaceChildren(
    ...[
      data.truth && h("p", { class: "muted" }, `${t("truth")}: `, h("b", {}, data.truth)),
      h("h3", {}, t("one")),
      ...sureAnswer(data),
      topBars(data.one, data.truth),
      h("h3", {}, noMargin ? t("two") : t("ten")),
      topBars(data.ten, data.truth),
      !data.mirrors && h("p", { class: "muted" }, h("small", {}, t("noflip"))),
    ].filter(Boolean),
  );
}

export function drawLook(main, run, setup, unchanged) {
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
  if (!unchanged || !main.querySelector("#frames")) {
    main.replaceChildren(
      h(
        "div",
        { class: "two slim" },
        h(
          "section",
          { class: "card" },
          h("div", { class: "bar-head" }, h("h2", {}, t("look.title"))),
          chooser(run),
          sureChoices(run),
        ),
        h(
          "section",
          { class: "card" },
          h(
            "div",
            { class: "image-panel" },
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
    fetchJson(route(run.name, "answers", img) + sureQuery())
      .then((data) => drawAnswers(run, main, data))
      .catch((error) => main.querySelector("#answers")?.replaceChildren(errorMessage(error)));
  }
  const drawnNetwork = main.querySelector("#net .net");
  if (drawnNetwork)
    for (const each of stages(run))
      drawnNetwork
        .querySelector(`#stage-${each.name}`)
        .setAttribute("aria-pressed", String(each === stage || each.name === stage.name));
  else {
    const net = network(run, layer.name);
    main.querySelector("#net").replaceChildren(net);
    for (const each of stages(run)) fillStage(run, img, net.firstChild, each);
  }
  const maps = main.querySelector("#maps"),
    unitCard = main.querySelector("#unit");
  show(maps, featureMaps(run, img, layer.name), (values) => {
    const unit = Math.min(
      state.unit === undefined ? values.limits.indexOf(Math.max(...values.limits)) : Number(state.unit),
      values.units - 1,
    );
    // The feature maps come first: the unit is drawn after the frame that shows them.
    unitCard.setAttribute("aria-busy", "true");
    requestAnimationFrame(() =>
      setTimeout(() => {
        unitCard.removeAttribute("aria-busy");
        if (unitCard.isConnected) drawUnit(run, layer, values, unit, unitCard);
      }),
    );
    const choose = (next) => {
      go({ layer: layer.name, unit: next }, { quiet: true });
      for (const each of maps.querySelectorAll("[id^=unit-]"))
        each.setAttribute("aria-pressed", String(each.id === `unit-${next}`));
      drawUnit(run, layer, values, next, unitCard);
    };
    const shape =
      values.height * values.width > 1
        ? `${values.height}×${values.width} · ${number(values.units)} ${t("featuremaps")}`
        : `${number(values.units)} ${t("units")}`;
    return [
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, `${layer.name}`),
        h("small", {}, `${shape}${layer.parameters ? ` · ${number(layer.parameters)} ${t("parameters")}` : ""}`),
        h(
          "span",
          { class: "grow" },
          values.height > 1 &&
            chips(
              t("scale"),
              [
                ["map", t("scale.map")],
                ["layer", t("scale.layer")],
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
            t("operations"),
            stage.parts.map((each) => [each.name, each.name]),
            layer.name,
            (value) => go({ layer: value, unit: null }),
          ),
        ),
      mapGrid(run, layer, values, unit, scale, choose),
    ];
  });
}
