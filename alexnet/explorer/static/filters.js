// Filters: the kernels of conv1 as in Figure 3, by tower, in several orders, over the epochs that the run has kept.

import { arrows, ask, chips, columns, go, h, percent, route, show, state, t } from "./base.js";
import { decode, kernelCanvas } from "./paint.js";

export function kernelSheet(found, tower, order, chosen, choose) {
  const { towers, tuning } = found,
    [units, channels, height, width] = found.shape,
    each = units / towers;
  const numbers = [...Array(each).keys()].map((i) => tower * each + i);
  if (order !== "network") numbers.sort((a, b) => tuning[a][order] - tuning[b][order]);
  const bytes = found.bytes;
  return arrows(
    columns(
      h(
        "div",
        { class: "kernels", role: "group", "aria-label": t("tower", { n: tower + 1 }) },
        numbers.map((unit) =>
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
      each,
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

  const facts = (found, unit) => {
    const own = found.tuning[unit],
      [units, channels, height, width] = found.shape,
      size = channels * height * width;
    side.replaceChildren(
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, `conv1 · ${t("kernel")} ${unit}`),
        found.towers > 1 &&
          h("span", { class: "pill" }, t("tower", { n: Math.floor((unit * found.towers) / units) + 1 })),
      ),
      h(
        "div",
        { class: "unit" },
        h(
          "div",
          { class: "big" },
          h("figure", {}, kernelCanvas(found.bytes, unit * size, channels, height, width)),
          h(
            "dl",
            { class: "facts" },
            [
              ["orientation", `${own.orientation.toFixed(0)}°`],
              ["frequency", own.frequency.toFixed(3)],
              ...(channels === 3 ? [["color", percent(own.color, 0)]] : []),
            ].map(([key, value]) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, value))),
          ),
        ),
        h("p", { class: "muted" }, h("small", {}, t("frequencynote"))),
        h(
          "p",
          {},
          h("button", { type: "button", onclick: () => go({ tab: "look", layer: "conv1", unit }) }, t("fires")),
        ),
      ),
    );
  };
  const draw = (found) => {
    const unit = Math.min(Number(state.unit || 0), found.shape[0] - 1);
    const choose = (next) => {
      go({ unit: next }, { quiet: true });
      for (const each of sheet.querySelectorAll("button"))
        each.setAttribute("aria-pressed", String(each.id === `kernel-${next}`));
      facts(found, next);
    };
    facts(found, unit);
    return [...Array(found.towers).keys()]
      .map((tower) => {
        const color = found.colors[tower];
        return h(
          "div",
          { class: "tower" },
          h(
            "h3",
            {},
            found.towers > 1 ? t("tower", { n: tower + 1 }) : t("kernels", { n: found.shape[0] }),
            color && h("small", {}, ` · ${t("selective", { mean: percent(color.weighted, 0) })}`),
          ),
          kernelSheet(found, tower, order, unit, choose),
        );
      })
      .map((each) => h("div", { class: "towers" }, each));
  };
  const load = (epoch) =>
    ask(`${route(run.name, "filters")}${epoch ? `?epoch=${epoch}` : ""}`).then((found) => {
      const seen = decode({ ...found, shape: [found.shape[0], found.shape[2], found.shape[3]] });
      return { ...seen, shape: found.shape };
    });
  const epochs = (found) => {
    const list = found.epochs;
    if (list.length < 2) return "";
    const at = state.epoch ? Math.max(0, list.indexOf(Number(state.epoch))) : list.length - 1,
      label = h("output", {}, String(list[at]));
    const move = async (index) => {
      const mine = (turn += 1),
        epoch = list[index];
      range.value = index;
      label.textContent = epoch;
      go({ epoch }, { quiet: true });
      const next = await load(epoch);
      if (mine === turn) sheet.replaceChildren(...draw(next));
    };
    const range = h("input", {
      type: "range",
      id: "epoch",
      min: 0,
      max: list.length - 1,
      value: at,
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
          timer = setInterval(() => move((Number(range.value) + 1) % list.length), 500);
        },
      },
      `▶ ${t("play")}`,
    );
    range.value = at;
    return h("span", { class: "chips" }, h("label", { class: "field" }, t("epoch"), range, label), play);
  };
  show(sheet, load(state.epoch), (found) => {
    const orders = [
      ["network", t("order.network")],
      ["orientation", t("orientation")],
      ["frequency", t("frequency")],
      ...(found.shape[1] === 3 ? [["color", t("color")]] : []),
    ];
    tools.replaceChildren(
      chips(t("order"), orders, order, (value) => go({ sort: value })),
      epochs(found),
    );
    return draw(found);
  });
  return () => clearInterval(timer);
}
