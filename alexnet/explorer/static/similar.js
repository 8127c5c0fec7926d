// The tab Similar: the nearest neighbors by the last hidden layer as in Figure 4, and by raw pixels for comparison.

import { fetchJson, go, h, number, route, short, show, state, t } from "./base.js";
import { chooser, imageUrl } from "./image.js";
import { stages } from "./network.js";

export function drawSimilar(main, run) {
  if (!state.img) {
    main.replaceChildren(h("section", { class: "card" }, chooser(run)));
    return;
  }
  const rows = h("div", { class: "towers" });
  main.replaceChildren(
    h("section", { class: "card" }, h("div", { class: "bar-head" }, h("h2", {}, t("similar.title"))), rows),
    h("section", { class: "card" }, h("h2", {}, t("another")), h("div", { id: "answers" }), chooser(run)),
  );
  const tiny = run.prepare_size < 128 ? "tiny" : null;
  const row = (data, sense, title, note) =>
    h(
      "div",
      {},
      h("h3", {}, title),
      h("p", { class: "lead" }, note),
      h(
        "div",
        { class: "row6" },
        h(
          "figure",
          {},
          h("img", { class: tiny, src: imageUrl(run, state.img), alt: t("query") }),
          h("figcaption", {}, h("b", {}, t("query")), data.truth ? ` · ${data.truth}` : ""),
        ),
        data[sense].map((each) =>
          h(
            "figure",
            { class: each.truth && each.truth === data.truth ? "same" : null },
            h(
              "button",
              {
                type: "button",
                title: each.file,
                "aria-label": `${each.truth || each.file}, ${t("distance")} ${short(each.distance)}`,
                onclick: () => go({ img: each.image, class: null }),
              },
              h("img", { class: tiny, src: imageUrl(run, each.image), alt: "" }),
            ),
            h("figcaption", {}, `${each.truth || each.file} · ${short(each.distance)}`),
          ),
        ),
      ),
    );
  show(rows, fetchJson(route(run.name, "similar", state.img)), (data) => [
    row(data, "hidden", t("bylayer", { layer: stages(run).at(-2).name }), t("bylayernote")),
    row(data, "pixels", t("bypixels"), t("bypixelsnote")),
    h(
      "p",
      { class: "muted" },
      h(
        "small",
        {},
        `${t("among", { n: number(data.images), split: t(`split.${data.split}`) })}${data.images < data.all ? ` (${t("of")} ${number(data.all)})` : ""} ${data.truth ? t("framed") : ""}`,
      ),
    ),
    ...data.notes.map((each) => h("p", { class: "muted" }, h("small", {}, each))),
  ]);
}
