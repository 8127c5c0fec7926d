// The tab Compare: runs side by side, and the figures of the paper if the runs differ by one of its ingredients.

import { fetchJson, h, percent, route, show, t } from "./base.js";
import { chart, legend } from "./chart.js";
import { imageUrl } from "./image.js";

const signed = (value) =>
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
    results = h("section", { class: "card" }),
    images = h("section", { class: "card", hidden: true });
  const drawOnlyOne = () =>
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
    drawOnlyOne();
    return;
  }
  main.replaceChildren(h("div", { class: "two" }, recipe, results), curves, images);
  let ingredients = [];
  const claims = (errors, names) =>
    ingredients.map((each) => {
      const added1 = errors && 100 * (errors[each.to].top1 - errors[each.from].top1),
        added5 = errors && errors[each.to].top5 !== null && 100 * (errors[each.to].top5 - errors[each.from].top5);
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
              signed(added1),
              ...(each.paper ? [signed(each.paper.top1)] : []),
              ...(each.notebook ? [signed(each.notebook.top1)] : []),
            ],
            ...(added5 === false || added5 === undefined
              ? []
              : [
                  [
                    t("top5"),
                    signed(added5),
                    ...(each.paper ? [signed(each.paper.top5)] : []),
                    ...(each.notebook ? [signed(each.notebook.top5)] : []),
                  ],
                ]),
          ],
        ),
        each.claim && h("small", {}, `${t("section", { n: each.section })}: ${each.claim}`),
      );
    });
  const comparison = fetchJson(route(run.name, "compare"));
  show(recipe, comparison, (data) => [
    h("h2", {}, t("differs")),
    data.fields.length
      ? table(
          [t("field"), ...data.runs.map((each) => each.name)],
          data.fields.map((each) => [each.field, ...each.values.map(cell)]),
        )
      : h("p", {}, t("nodiffers")),
    h(
      "ul",
      {},
      data.fields.filter((each) => each.note).map((each) => h("li", {}, h("small", {}, `${each.field}: ${each.note}`))),
    ),
  ]);
  show(curves, comparison, (data) => {
    const lines = (key, scale) =>
      data.runs.map((each) => ({
        name: each.name,
        points: each.rows.filter((row) => Number.isFinite(row[key])).map((row) => [row.epoch, scale * row[key]]),
      }));
    return [
      h(
        "div",
        { class: "bar-head" },
        h("h2", {}, t("curves")),
        h("span", { class: "grow" }, legend(data.runs.map((each) => each.name))),
      ),
      h(
        "div",
        { class: "charts" },
        chart(`${t("loss")} · ${t("training")}`, lines("train_loss", 1)),
        chart(`${t("loss")} · ${t("validation")}`, lines("val_loss", 1)),
        chart(`${t("top1error")} · ${t("validation")}`, lines("val_top1_error", 100), { unit: " %" }),
      ),
    ];
  });
  comparison
    .then((data) => {
      if (data.runs.length < 2) drawOnlyOne();
      else drawResults();
    })
    .catch(() => {});
  const drawResults = () =>
    show(
      results,
      comparison.then((data) => {
        ingredients = data.ingredients;
        return fetchJson(route(run.name, "contrast"));
      }),
      (data) => {
        images.hidden = !data.disputed.length;
        images.replaceChildren(
          h("h2", {}, t("disputed")),
          h("p", { class: "lead" }, t("disputednote")),
          h(
            "div",
            { class: "disputes" },
            data.disputed.map((each) =>
              h(
                "figure",
                {},
                h("img", {
                  class: run.prepare_size < 128 ? "tiny" : null,
                  src: imageUrl(run, each.image),
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
                      `${data.runs[i]}: ${answer.name} ${percent(answer.probability, 0)}`,
                    ),
                  ),
                ),
              ),
            ),
          ),
        );
        return [
          h("h2", {}, t("accuracy", { n: data.images, split: t(`split.${data.split}`) })),
          table(
            [t("run"), t("top1accuracy"), t("top5accuracy")],
            data.runs.map((name, i) => [
              name,
              percent(1 - data.errors[i].top1),
              data.errors[i].top5 === null ? "–" : percent(1 - data.errors[i].top5),
            ]),
          ),
          h("h3", {}, t("mcnemar")),
          h("p", { class: "lead" }, t("mcnemarnote")),
          table(
            [t("pair"), t("onlyfirst"), t("onlysecond"), "p"],
            data.pairs.map((pair) => [
              `${data.runs[pair.first]} / ${data.runs[pair.second]}`,
              String(pair.only_first),
              String(pair.only_second),
              pair.p < 1e-4 ? pair.p.toExponential(1) : pair.p.toFixed(4),
            ]),
          ),
          ...claims(data.errors, data.runs),
        ];
      },
    );
}
