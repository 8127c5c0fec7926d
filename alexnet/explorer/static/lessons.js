// The lessons in the tab Learn: a list of them, and each as `make lessons` writes it, in the language of the page.

import { address, fetchJson, go, h, route, show, state, t, words } from "./base.js";

// What else on this page shows what a lesson is about, beside the cards that name it: more cards, or tabs.
const ALSO = {
  8: { tabs: ["train", "compare"] },
  9: { tabs: ["look", "filters", "why", "similar"] },
  10: { cards: ["lrn", "augmentation"] },
};
let turned = false; // the reader has come from another lesson, and begins to read this one at its top

export function pageLink(changes, text, attributes = {}) {
  return h(
    "a",
    {
      href: address(changes),
      onclick: (event) => {
        event.preventDefault();
        turned = Boolean(changes.lesson);
        go(changes);
      },
      ...attributes,
    },
    text,
  );
}
const language = () => (words.lang === "zh" ? "zh" : "en");

export function drawLessons(main, ideas, own, above) {
  const card = h("section", { class: "card lessons", "aria-labelledby": "lesson-title" });
  main.replaceChildren(above, card);
  if (state.lesson === "all") show(card, fetchJson(route("lessons", language())), (data) => list(data.lessons, own));
  else {
    const asked = [fetchJson(route("lessons", language(), state.lesson)), fetchJson(route("lessons", language()))];
    show(card, Promise.all(asked), ([one, all]) => lesson(one, all.lessons, ideas, own)).then(() => begin(card));
  }
}

async function begin(card) {
  const title = card.querySelector("h1");
  if (!title || !card.isConnected) return;
  document.title = `${title.textContent} · AlexNet Explorer`;
  const figure = state.at && card.querySelector(`#figure-${CSS.escape(state.at)}`);
  if (figure) {
    await Promise.all([...card.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
    figure.scrollIntoView({ block: "center" });
    return;
  }
  if (!turned) return;
  turned = false;
  scrollTo(0, 0);
  title.focus({ preventScroll: true });
}

function list(lessons, own) {
  return [
    h("h2", { id: "lesson-title" }, t("lessons.title")),
    h("p", { class: "lead" }, t("lessons.lead")),
    h(
      "ol",
      {},
      lessons.map((each) =>
        h(
          "li",
          {},
          pageLink({ ...own, lesson: each.number }, `${each.number}. ${each.title}`, { id: `lesson-${each.number}` }),
          h("p", {}, each.summary),
          h(
            "small",
            {},
            [
              t("lessons.solved", { solved: each.solved, count: each.exercises }),
              each.run === "never" && t("lessons.notrun"),
            ]
              .filter(Boolean)
              .join(" · "),
          ),
        ),
      ),
    ),
  ];
}

function lesson(one, all, ideas, own) {
  const made = new DOMParser().parseFromString(one.page, "text/html").querySelector("main.lesson");
  const article = h(
    "article",
    { class: "lesson" },
    ...[...made.childNodes].map((node) => document.importNode(node, true)),
  );
  const title = article.querySelector("h1");
  title.id = "lesson-title";
  title.tabIndex = -1;
  const about = [...Object.keys(ideas).filter((name) => ideas[name].lesson === one.number)].concat(
    ALSO[one.number]?.cards ?? [],
  );
  const links = [
    ...about.map((name) => pageLink({ ...own, card: name }, t(`idea.${name}`))),
    ...(ALSO[one.number]?.tabs ?? []).map((tab) => pageLink({ ...own, tab }, t(`tab.${tab}`))),
  ];
  const first = article.querySelector("h1 + p") ?? title;
  first.after(
    h(
      "p",
      { class: "touch" },
      t("lessons.touch"),
      " ",
      links.flatMap((link, i) => (i ? [" · ", link] : [link])),
    ),
  );
  const before = all.find((each) => each.number === one.number - 1),
    after = all.find((each) => each.number === one.number + 1);
  return [
    h(
      "nav",
      { class: "turn", "aria-label": t("lessons.title") },
      pageLink({ ...own, lesson: "all" }, t("lessons.all")),
      h("span", {}, `${one.number} / ${all.length}`),
    ),
    article,
    h(
      "nav",
      { class: "turn", "aria-label": t("lessons.turn") },
      before && pageLink({ ...own, lesson: before.number }, `← ${before.number}. ${before.title}`, { rel: "prev" }),
      after && pageLink({ ...own, lesson: after.number }, `${after.number}. ${after.title} →`, { rel: "next" }),
    ),
  ];
}
