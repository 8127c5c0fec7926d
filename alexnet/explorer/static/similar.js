// Similar: the nearest pictures by the last hidden layer as in Figure 4, and by raw pixels for contrast.

import { ask, go, h, number, route, short, show, state, t } from "./base.js";
import { stages } from "./network.js";
import { chooser, pictureUrl } from "./picture.js";

export function drawSimilar(main, run) {
  if (!state.img) {
    main.replaceChildren(h("section", { class: "card" }, chooser(run)));
    return;
  }
  const place = h("div", { class: "towers" });
  main.replaceChildren(
    h("section", { class: "card" }, h("div", { class: "bar-head" }, h("h2", {}, t("similar.title"))), place),
    h("section", { class: "card" }, h("h2", {}, t("another")), h("div", { id: "answers" }), chooser(run)),
  );
  const tiny = run.prepare_size < 128 ? "tiny" : null;
  const row = (found, sense, title, note) =>
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
          h("img", { class: tiny, src: pictureUrl(run, state.img), alt: t("query") }),
          h("figcaption", {}, h("b", {}, t("query")), found.truth ? ` · ${found.truth}` : ""),
        ),
        found[sense].map((each) =>
          h(
            "figure",
            { class: each.truth && each.truth === found.truth ? "same" : null },
            h(
              "button",
              {
                type: "button",
                title: each.file,
                "aria-label": `${each.truth || each.file}, ${t("distance")} ${short(each.distance)}`,
                onclick: () => go({ img: each.picture, class: null }),
              },
              h("img", { class: tiny, src: pictureUrl(run, each.picture), alt: "" }),
            ),
            h("figcaption", {}, `${each.truth || each.file} · ${short(each.distance)}`),
          ),
        ),
      ),
    );
  show(place, ask(route(run.name, "similar", state.img)), (found) => [
    row(found, "hidden", t("bylayer", { layer: stages(run).at(-2).name }), t("bylayernote")),
    row(found, "pixels", t("bypixels"), t("bypixelsnote")),
    h(
      "p",
      { class: "muted" },
      h(
        "small",
        {},
        `${t("among", { n: number(found.pictures), split: t(`split.${found.split}`) })}${found.pictures < found.all ? ` (${t("of")} ${number(found.all)})` : ""} ${found.truth ? t("framed") : ""}`,
      ),
    ),
  ]);
}
