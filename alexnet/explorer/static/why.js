// Why: what speaks for a class, by three methods, blended over the picture.

import { ask, chips, go, h, percent, route, said, show, state, t } from "./base.js";
import { chooser, photo, topBars } from "./picture.js";
import { decode, heatCanvas } from "./paint.js";

const METHODS = ["grad-cam", "occlusion", "saliency"];

export function drawWhy(main, run) {
  if (!state.img) {
    main.replaceChildren(h("section", { class: "card" }, chooser(run)));
    return;
  }
  const method = METHODS.includes(state.method) ? state.method : METHODS[0],
    view = h("div"),
    list = h("div", { id: "answers" }),
    about = h("div");
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
        about,
      ),
      h(
        "section",
        { class: "card" },
        h("h2", {}, t("why.class")),
        h("p", { class: "lead" }, t("why.lead")),
        list,
        chooser(run),
      ),
    ),
  );
  ask(route(run.name, "answers", state.img))
    .then((found) => {
      const chosen = state.class === undefined ? found.one[0].index : Number(state.class);
      list.replaceChildren(
        ...[
          found.truth && h("p", { class: "muted" }, `${t("truth")}: `, h("b", {}, found.truth)),
          topBars(found.one, found.truth, (index) => go({ class: index }), chosen),
        ].filter(Boolean),
      );
    })
    .catch((error) => list.replaceChildren(said(error)));
  show(
    view,
    ask(
      `${route(run.name, "why", state.img)}?method=${method}${state.class === undefined ? "" : `&class=${Number(state.class)}`}`,
    ),
    (found) => {
      const heat = heatCanvas(decode(found)),
        [x, y, side] = found.box;
      Object.assign(heat.style, {
        left: `${100 * x}%`,
        top: `${100 * y}%`,
        width: `${100 * side}%`,
        height: `${100 * side}%`,
        inset: "auto",
        opacity: blend.value / 100,
      });
      Object.assign(heat.style, { left: `${100 * x}%`, top: `${100 * y}%` });
      about.replaceChildren(
        h("p", {}, h("b", {}, found.name), ` ${percent(found.probability)}`),
        h("p", { class: "muted" }, t(`about.${found.method}`)),
      );
      const framed = photo(run, state.img, t("overlay", { method: t(method), name: found.name }), heat);
      return framed;
    },
  );
}
