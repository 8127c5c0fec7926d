// The tab Filters: the kernels of conv1 as in Figure 3, by tower, in several orders, over the saved epochs of the run.

import { chips, fetchJson, go, h, percent, route, show, state, t, withArrowKeys, withColumns } from "./base.js";
import { decode, kernelCanvas } from "./paint.js";

export function kernelSheet(kernels, tower, order, chosen, choose) {
  const { towers, tuning } = kernels,
    [units, channels, height, width] = kernels.shape,
    perTower = units / towers;
  const sorted = [...Array(perTower).keys()].map((i) => tower * perTower + i);
  if (order !== "network") sorted.sort((a, b) => tuning[a][order] - tuning[b][order]);
  const bytes = kernels.bytes;
  return withArrowKeys(
    withColumns(
      h(
        "div",
        { class: "kernels", role: "group", "aria-label": t("tower", { n: tower + 1 }) },
        sorted.map((unit) =>
          h(
            "button",
            {
              type: "button",
              title: String(unit),
              id: `kernel-${unit}`,
              "aria-label": `${t("kernel")} ${unit}`,
              "aria-pressed": String(unit === chosen),
              onclick: () => choose(unit),
            },
            kernelCanvas(bytes, unit * channels * height * width, channels, height, width),
          ),
        ),
      ),
      perTower,
      16,
    ),
  );
}

export function drawFilters(main, run) {
  const order = state.sort || "network",
    sheet = h("div"),
    tools = h("span", { class: "grow" }),
    side = h("section", { class: "card stick" });
  let turn = 0,
    timer = null;
  main.replaceChildren(
    h(
      "div",
      { class: "two wide" },
      h(
        "section",
        { class: "card" },
        h("div", { class: "bar-head" }, h("h2", {}, t("filters.title")), tools),
        h("p", { class: "lead" }, t("filters.lead")),
        sheet,
      ),
      side,
    ),
  );

  const drawFacts = (kernels, unit) => {
    const tuning = kernels.tuning[unit],
      [units, channels, height, width] = kernels.shape,
      size = channels * height * width;
    side.replaceChildren(
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, `conv1 · ${t("kernel")} ${unit}`),
        kernels.towers > 1 &&
          h("span", { class: "pill" }, t("tower", { n: Math.floor((unit * kernels.towers) / units) + 1 })),
      ),
      h(
        "div",
        { class: "unit" },
        h(
          "div",
          { class: "big" },
          h("figure", {}, kernelCanvas(kernels.bytes, unit * size, channels, height, width)),
          h(
            "dl",
            { class: "facts" },
            [
              ["orientation", `${tuning.orientation.toFixed(0)}°`],
              ["frequency", tuning.frequency.toFixed(3)],
              ...(channels === 3 ? [["color", percent(tuning.color, 0)]] : []),
            ].map(([key, value]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value))),
          ),
        ),
        h("p", { class: "muted" }, h("small", {}, t("frequencynote"))),
        h(
          "p",
          {},
          h(
            "button",
            { type: "button", onclick: () => go({ tab: "look", layer: "conv1", unit }) },
            t("excitingimages"),
          ),
        ),
      ),
    );
  };
  const draw = (kernels) => {
    const unit = Math.min(Number(state.unit || 0), kernels.shape[0] - 1);
    const choose = (next) => {
      go({ unit: next }, { quiet: true });
      for (const each of sheet.querySelectorAll("button"))
        each.setAttribute("aria-pressed", String(each.id === `kernel-${next}`));
      drawFacts(kernels, next);
    };
    drawFacts(kernels, unit);
    return [...Array(kernels.towers).keys()]
      .map((tower) => {
        const color = kernels.colors[tower];
        return h(
          "div",
          { class: "tower" },
          h(
            "h3",
            {},
            kernels.towers > 1 ? t("tower", { n: tower + 1 }) : t("kernels", { n: kernels.shape[0] }),
            color && h("small", {}, ` · ${t("selective", { mean: percent(color.weighted, 0) })}`),
          ),
          kernelSheet(kernels, tower, order, unit, choose),
        );
      })
      .map((each) => h("div", { class: "towers" }, each));
  };
  const load = (epoch) =>
    fetchJson(`${route(run.name, "filters")}${epoch ? `?epoch=${epoch}` : ""}`).then((data) => {
      const decoded = decode({ ...data, shape: [data.shape[0], data.shape[2], data.shape[3]] });
      return { ...decoded, shape: data.shape };
    });
  const epochSlider = (epochs) => {
    if (epochs.length < 2) return "";
    const current = state.epoch ? Math.max(0, epochs.indexOf(Number(state.epoch))) : epochs.length - 1,
      label = h("output", {}, String(epochs[current]));
    const move = async (index) => {
      const ownTurn = (turn += 1),
        epoch = epochs[index];
      range.value = index;
      label.textContent = epoch;
      go({ epoch }, { quiet: true });
      const kernels = await load(epoch);
      if (ownTurn === turn) sheet.replaceChildren(...draw(kernels));
    };
    const range = h("input", {
      type: "range",
      id: "epoch",
      min: 0,
      max: epochs.length - 1,
      value: current,
      oninput: () => move(Number(range.value)),
    });
    const play = h(
      "button",
      {
        type: "button",
        onclick: () => {
          if (timer) {
            clearInterval(timer);
            timer = null;
            play.textContent = `▶ ${t("play")}`;
            return;
          }
          play.textContent = `❚❚ ${t("pause")}`;
          timer = setInterval(() => move((Number(range.value) + 1) % epochs.length), 500);
        },
      },
      `▶ ${t("play")}`,
    );
    range.value = current;
    return h("span", { class: "chips" }, h("label", { class: "field" }, t("epoch"), range, label), play);
  };
  show(sheet, load(state.epoch), (kernels) => {
    const orders = [
      ["network", t("order.network")],
      ["orientation", t("orientation")],
      ["frequency", t("frequency")],
      ...(kernels.shape[1] === 3 ? [["color", t("color")]] : []),
    ];
    tools.replaceChildren(
      chips(t("order"), orders, order, (value) => go({ sort: value })),
      epochSlider(kernels.epochs),
    );
    return draw(kernels);
  });
  return () => clearInterval(timer);
}
