// The tab Why: attribution maps for a class by three methods, blended over the image.

import { chips, errorMessage, fetchJson, go, h, percent, route, show, state, t } from "./base.js";
import { chooser, photo, topBars } from "./image.js";
import { decode, heatCanvas } from "./paint.js";

const METHODS = ["occlusion", "saliency", "grad-cam"];

export function drawWhy(main, run) {
  if (!state.img) {
    main.replaceChildren(h("section", { class: "card" }, chooser(run)));
    return;
  }
  const method = METHODS.includes(state.method) ? state.method : METHODS[0],
    view = h("div"),
    answers = h("div", { id: "answers" }),
    explanation = h("div");
  const blend = h("input", {
    type: "range",
    id: "blend",
    min: 0,
    max: 100,
    value: state.blend || 75,
    oninput: () => {
      go({ blend: blend.value }, { quiet: true });
      const canvas = view.querySelector("canvas");
      if (canvas) canvas.style.opacity = blend.value / 100;
    },
  });
  main.replaceChildren(
    h(
      "div",
      { class: "two" },
      h(
        "section",
        { class: "card" },
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, t("why.title")),
          h(
            "span",
            { class: "grow" },
            chips(
              t("method"),
              METHODS.map((each) => [each, t(each)]),
              method,
              (value) => go({ method: value }),
            ),
          ),
        ),
        view,
        h(
          "p",
          {},
          h("label", { class: "field" }, t("blend"), blend),
          " ",
          h("span", { class: "legend" }, t("against"), h("span", { class: "ramp" }), t("for")),
        ),
        explanation,
      ),
      h(
        "section",
        { class: "card" },
        h("h2", {}, t("why.class")),
        h("p", { class: "lead" }, t("why.lead")),
        answers,
        chooser(run),
      ),
    ),
  );
  fetchJson(route(run.name, "answers", state.img))
    .then((data) => {
      const chosen = state.class === undefined ? data.one[0].index : Number(state.class);
      answers.replaceChildren(
        ...[
          data.truth && h("p", { class: "muted" }, `${t("truth")}: `, h("b", {}, data.truth)),
          topBars(data.one, data.truth, (index) => go({ class: index }), chosen),
        ].filter(Boolean),
      );
    })
    .catch((error) => answers.replaceChildren(errorMessage(error)));
  show(
    view,
    fetchJson(
      `${route(run.name, "why", state.img)}?method=${method}${state.class === undefined ? "" : `&class=${Number(state.class)}`}`,
    ),
    (data) => {
      const heat = heatCanvas(decode(data)),
        [x, y, side] = data.box;
      Object.assign(heat.style, {
        left: `${100 * x}%`,
        top: `${100 * y}%`,
        width: `${100 * side}%`,
        height: `${100 * side}%`,
        inset: "auto",
        opacity: blend.value / 100,
      });
      explanation.replaceChildren(
        h("p", {}, h("b", {}, data.name), ` ${percent(data.probability)}`),
        h("p", { class: "muted" }, t(`about.${data.method}`)),
        ...(data.blank ? [h("p", { class: "lead", role: "status" }, t(`blank.${data.method}`))] : []),
      );
      return photo(run, state.img, t("overlay", { method: t(method), name: data.name }), heat);
    },
  );
}
