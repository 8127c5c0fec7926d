// The tab Learn: a card for each idea of AlexNet, on one image; or, as a lecture, one idea on each screen; the lessons.

import { address, go, h, state, t, words } from "./base.js";
import { chooser, photo } from "./image.js";
import { drawActivation } from "./learn_activation.js";
import { drawAugmentation } from "./learn_augmentation.js";
import { drawConvolution } from "./learn_convolution.js";
import { drawDropout } from "./learn_dropout.js";
import { drawLrn } from "./learn_lrn.js";
import { drawPooling } from "./learn_pooling.js";
import { drawTowers } from "./learn_towers.js";
import { drawLessons, pageLink } from "./lessons.js";

// In the order of the lessons; `lesson` is the number of the one that explains it.
const IDEAS = {
  activation: { draw: drawActivation, lesson: 2 },
  convolution: { draw: drawConvolution, lesson: 1 },
  pooling: { draw: drawPooling, lesson: 4 },
  lrn: { draw: drawLrn, lesson: 5 },
  dropout: { draw: drawDropout, lesson: 6 },
  augmentation: { draw: drawAugmentation, lesson: 3 },
  towers: { draw: drawTowers, lesson: 7 },
};
const NAMES = Object.keys(IDEAS);
// What a card keeps in the address; another card begins without it.
export const OWN = {
  ...{ layer: null, unit: null, row: null, col: null, ch: null, all: null, off: null, lrn_n: null, lrn_a: null },
  ...{ lrn_b: null, lrn_k: null, share: null, seed: null, cut: null, nocrop: null, noflip: null, nonoise: null },
  ...{ axis1: null, axis2: null, axis3: null, lesson: null, at: null },
};
let drawn = null,
  stop = null;

const chosenIdea = () => (NAMES.includes(state.card) ? state.card : NAMES[0]);
const turn = (by) => NAMES[(NAMES.indexOf(chosenIdea()) + by + NAMES.length) % NAMES.length];

function ideaLinks(run) {
  return h(
    "nav",
    { class: "ideas", "aria-label": t("learn.ideas") },
    NAMES.map((name, i) =>
      h(
        "a",
        {
          id: `idea-${name}`,
          href: address({ ...OWN, card: name }),
          "aria-current": !state.lesson && name === chosenIdea() ? "true" : null,
          class: run.ideas[name].length ? null : "absent",
          onclick: (event) => {
            event.preventDefault();
            go({ ...OWN, card: name });
          },
        },
        h("b", {}, String(i + 1)),
        t(`idea.${name}`),
      ),
    ),
    pageLink({ ...OWN, lesson: "all" }, t("lessons.title"), {
      id: "lessons",
      "aria-current": state.lesson ? "true" : null,
    }),
  );
}

function lectureBar() {
  const to = (by) => () => go({ ...OWN, card: turn(by) });
  return h(
    "div",
    { class: "lecture-bar" },
    h("button", { type: "button", id: "previous", onclick: to(-1) }, `← ${t("learn.previous")}`),
    h("span", {}, `${NAMES.indexOf(chosenIdea()) + 1} / ${NAMES.length}`),
    h("button", { type: "button", id: "next", onclick: to(1) }, `${t("learn.next")} →`),
    h("button", { type: "button", id: "leave", onclick: () => go({ lecture: null }) }, t("learn.leave")),
  );
}

// The arrow keys turn the screens of a lecture, unless what has the focus needs them itself.
addEventListener("keydown", (event) => {
  if (!state.lecture || state.tab !== "learn" || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") go({ lecture: null });
  if (document.activeElement?.matches("input, select, textarea, .samples button")) return;
  const by = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  go({ ...OWN, card: turn(by) });
});

function otherRun(run, setup, name) {
  const other = setup.runs.find((each) => each.ideas[name].length);
  return [
    h("p", { class: "lead", role: "status" }, t("learn.absent", { run: run.name, idea: t(`idea.${name}`) })),
    other
      ? h(
          "button",
          { type: "button", class: "main", id: "other-run", onclick: () => go({ ...OWN, run: other.name, img: null }) },
          t("learn.open", { run: other.name }),
        )
      : h("p", {}, t("learn.start"), " ", h("code", {}, "alexnet explore")),
  ];
}

export function drawLearn(main, run, setup) {
  const name = chosenIdea(),
    img = state.img,
    key = JSON.stringify([run.name, run.model, words.lang, name, img, Boolean(state.lecture)]);
  document.documentElement.toggleAttribute("data-lecture", Boolean(state.lecture));
  stop?.();
  stop = null;
  document.title = `${t("tab.learn")} · AlexNet Explorer`;
  if (state.lesson && !state.lecture) {
    const shown = JSON.stringify([run.name, words.lang, state.lesson]);
    if (drawn !== shown || !main.querySelector(".lessons")) drawLessons(main, IDEAS, OWN, ideaLinks(run));
    drawn = shown;
    return;
  }
  let card = main.querySelector("#idea");
  if (!card || drawn !== key) {
    card = h("div", { id: "idea" });
    const picture = img ? photo(run, img, t("prepared", { n: run.prepare_size })) : "";
    const image = h("div", { class: "learn-image" }, picture, h("div", {}, chooser(run), h("div", { id: "answers" })));
    main.replaceChildren(
      ...[
        state.lecture ? lectureBar() : ideaLinks(run),
        h(
          "section",
          { class: "card idea", "aria-labelledby": "idea-title" },
          h(
            "div",
            { class: "bar-head" },
            h("h2", { id: "idea-title" }, t(`idea.${name}`)),
            h(
              "span",
              { class: "grow" },
              pageLink(
                { ...OWN, lesson: IDEAS[name].lesson, lecture: null },
                t("learn.lesson", { n: IDEAS[name].lesson }),
                {
                  id: "to-lesson",
                },
              ),
              !state.lecture &&
                h("button", { type: "button", id: "lecture", onclick: () => go({ lecture: 1 }) }, t("learn.lecture")),
            ),
          ),
          h("p", { class: "lead" }, t(`lead.${name}`)),
          card,
        ),
        state.lecture
          ? h("details", { class: "card" }, h("summary", {}, t("another")), image)
          : h("section", { class: "card" }, h("h2", {}, t("another")), image),
      ].filter(Boolean),
    );
  }
  drawn = key;
  const layers = run.ideas[name];
  if (!layers.length) card.replaceChildren(...otherRun(run, setup, name));
  else if (!img) card.replaceChildren(h("p", { role: "status" }, t("learn.noimage")));
  else stop = IDEAS[name].draw(card, run, img, layers) || null;
  return () => {
    stop?.();
    stop = null;
    if (!location.hash.startsWith("#learn")) document.documentElement.removeAttribute("data-lecture");
  };
}
