// Compare: runs side by side, beside the paper where what differs is one of its ingredients.

import { ask, go, h, percent, route, show, t } from "./base.js";
import { chart, key } from "./chart.js";
import { pictureUrl } from "./picture.js";

const points = (value) =>
  value === null || value === undefined
    ? "–"
    : `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(1)}`;
const cell = (value) =>
  value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);
const table = (head, rows) =>
  h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": head[0] || t("tab.compare") },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          head.map((each, i) => h("th", { scope: "col", class: i ? "n" : null }, each)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((each, i) => (i ? h("td", { class: "n" }, each) : h("th", { scope: "row" }, each))),
          ),
        ),
      ),
    ),
  );

export function drawCompare(main, run, setup) {
  const recipe = h("section", { class: "card" }),
    curves = h("section", { class: "card" }),
    proof = h("section", { class: "card" }),
    pictures = h("section", { class: "card", hidden: true });
  const alone = () =>
    main.replaceChildren(
      h(
        "section",
        { class: "card" },
        h("h2", {}, t("compare.title")),
        h("p", { class: "lead" }, t("onlyone")),
        h("p", { class: "formula" }, "alexnet explore RUN RUN"),
      ),
    );
  if (setup.runs.length < 2) {
    alone();
    return;
  }
  main.replaceChildren(h("div", { class: "two" }, recipe, proof), curves, pictures);
  let ingredients = [];
  const claims = (errors, names) =>
    ingredients.map((each) => {
      const own = errors && 100 * (errors[each.to].top1 - errors[each.from].top1),
        own5 = errors && errors[each.to].top5 !== null && 100 * (errors[each.to].top5 - errors[each.from].top5);
      return h(
        "div",
        { class: "claim" },
        h("p", {}, h("b", {}, each.name), ` · ${each.what}`),
        errors && h("p", {}, t("added", { from: names[each.from], to: names[each.to] })),
        table(
          [t("points"), t("here"), ...(each.paper ? [t("paper")] : []), ...(each.notebook ? [t("notebook")] : [])],
          [
            [
              t("top1"),
              points(own),
              ...(each.paper ? [points(each.paper.top1)] : []),
              ...(each.notebook ? [points(each.notebook.top1)] : []),
            ],
            ...(own5 === false || own5 === undefined
              ? []
              : [
                  [
                    t("top5"),
                    points(own5),
                    ...(each.paper ? [points(each.paper.top5)] : []),
                    ...(each.notebook ? [points(each.notebook.top5)] : []),
                  ],
                ]),
          ],
        ),
        each.claim && h("small", { lang: "en" }, `${t("section", { n: each.section })}: ${each.claim}`),
      );
    });
  const first = ask(route(run.name, "compare"));
  show(recipe, first, (found) => [
    h("h2", {}, t("differs")),
    found.fields.length
      ? table(
          [t("field"), ...found.runs.map((each) => each.name)],
          found.fields.map((each) => [each.field, ...each.values.map(cell)]),
        )
      : h("p", {}, t("nodiffers")),
    h(
      "ul",
      { lang: "en" },
      found.fields
        .filter((each) => each.note)
        .map((each) => h("li", {}, h("small", {}, `${each.field}: ${each.note}`))),
    ),
  ]);
  show(curves, first, (found) => {
    const lines = (at, scale) =>
      found.runs.map((each) => ({
        name: each.name,
        points: each.rows.filter((row) => Number.isFinite(row[at])).map((row) => [row.epoch, scale * row[at]]),
      }));
    return [
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, t("curves")),
        h("span", { class: "grow" }, key(found.runs.map((each) => each.name))),
      ),
      h(
        "div",
        { class: "charts" },
        chart(`${t("loss")} · ${t("training")}`, lines("train_loss", 1)),
        chart(`${t("loss")} · ${t("heldoutline")}`, lines("val_loss", 1)),
        chart(`${t("top1error")} · ${t("heldoutline")}`, lines("val_top1_error", 100), { unit: " %" }),
      ),
    ];
  });
  first
    .then((found) => {
      if (found.runs.length < 2) alone();
      else contrast();
    })
    .catch(() => {});
  const contrast = () =>
    show(
      proof,
      first.then((found) => {
        ingredients = found.ingredients;
        return ask(route(run.name, "contrast"));
      }),
      (found) => {
        pictures.hidden = !found.disputed.length;
        pictures.replaceChildren(
          h("h2", {}, t("disputed")),
          h("p", { class: "lead" }, t("disputednote")),
          h(
            "div",
            { class: "disputes" },
            found.disputed.map((each) =>
              h(
                "figure",
                {},
                h("img", {
                  class: run.prepare_size < 128 ? "tiny" : null,
                  src: pictureUrl(run, each.picture),
                  alt: each.truth,
                  loading: "lazy",
                }),
                h("figcaption", {}, h("b", {}, each.truth)),
                h(
                  "ul",
                  {},
                  each.answers.map((answer, i) =>
                    h(
                      "li",
                      {},
                      h("span", { class: answer.right ? "ok" : "no" }, answer.right ? "✓ " : "✗ "),
                      `${found.runs[i]}: ${answer.name} ${percent(answer.probability, 0)}`,
                    ),
                  ),
                ),
              ),
            ),
          ),
        );
        return [
          h("h2", {}, t("accuracy", { n: found.images, split: t(`split.${found.split}`) })),
          table(
            [t("run"), t("top1acc"), t("top5acc")],
            found.runs.map((name, i) => [
              name,
              percent(1 - found.errors[i].top1),
              found.errors[i].top5 === null ? "–" : percent(1 - found.errors[i].top5),
            ]),
          ),
          h("h3", {}, t("mcnemar")),
          h("p", { class: "lead" }, t("mcnemarnote")),
          table(
            [t("pair"), t("onlyfirst"), t("onlysecond"), "p"],
            found.pairs.map((pair) => [
              `${found.runs[pair.first]} / ${found.runs[pair.second]}`,
              String(pair.only_first),
              String(pair.only_second),
              pair.p < 1e-4 ? pair.p.toExponential(1) : pair.p.toFixed(4),
            ]),
          ),
          ...claims(found.errors, found.runs),
        ];
      },
    );
}
