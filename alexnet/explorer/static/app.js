// Draws the frame of the page: header, tabs, language, theme. Each tab is a module with one function that draws it.

import { address, errorMessage, fetchJson, go, h, loadWords, onGo, readAddress, state, t, words } from "./base.js";
import { drawLearn, OWN } from "./learn.js";
import { drawLook } from "./look.js";
import { useImage } from "./image.js";
import { drawFilters } from "./filters.js";
import { drawWhy } from "./why.js";
import { drawSimilar } from "./similar.js";
import { drawTrain } from "./train.js";
import { drawCompare } from "./compare.js";

const TABS = {
  learn: drawLearn,
  look: drawLook,
  filters: drawFilters,
  why: drawWhy,
  similar: drawSimilar,
  train: drawTrain,
  compare: drawCompare,
};
let setup = null,
  currentRun = null,
  leaveTab = null,
  drawnKey = null,
  frameKey = null;

function applyTheme() {
  const theme = state.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  return theme;
}

function drawFrame(run) {
  const theme = applyTheme(),
    otherTheme = theme === "dark" ? "light" : "dark";
  document.documentElement.lang = words.lang === "zh" ? "zh-CN" : "en";
  document.title = `${t(`tab.${state.tab}`)} · AlexNet Explorer`;
  document.getElementById("skip").textContent = t("skip");
  document.getElementById("foot").textContent = t("foot");
  document.getElementById("top").replaceChildren(
    h(
      "div",
      { class: "head" },
      h("h1", { class: "mark" }, h("img", { src: "page/icon.svg", alt: "" }), "AlexNet", h("span", {}, "Explorer")),
      h(
        "div",
        { class: "tools" },
        setup &&
          h(
            "select",
            {
              "aria-label": t("run"),
              onchange: (event) => go({ ...OWN, run: event.target.value, class: null, epoch: null }),
            },
            setup.runs.map((each) => h("option", { value: each.name, selected: each.name === run.name }, each.name)),
          ),
        h(
          "button",
          {
            class: "tool",
            lang: words.lang === "zh" ? "en" : "zh-CN",
            onclick: () => go({ lang: words.lang === "zh" ? "en" : "zh" }),
          },
          words.lang === "zh" ? "EN" : "中文",
        ),
        h(
          "button",
          {
            class: "tool",
            "aria-label": t(`theme.${otherTheme}`),
            title: t(`theme.${otherTheme}`),
            onclick: () => go({ theme: otherTheme }),
          },
          theme === "dark" ? "☀" : "☾",
        ),
      ),
      h(
        "nav",
        { class: "tabs", "aria-label": t("tabs") },
        Object.keys(TABS).map((tab) =>
          h(
            "a",
            {
              "data-tab": tab,
              href: address({ tab }),
              "aria-current": tab === state.tab ? "page" : null,
              onclick: (event) => {
                event.preventDefault();
                go({ tab });
              },
            },
            t(`tab.${tab}`),
          ),
        ),
      ),
    ),
  );
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

async function draw() {
  readAddress();
  if (!(state.tab in TABS)) state.tab = "learn";
  const lang = state.lang || (navigator.language.startsWith("zh") ? "zh" : "en");
  const main = document.getElementById("main");
  try {
    if (words.lang !== lang || !Object.keys(words.texts).length) await loadWords(lang);
    setup ??= await fetchJson("explorer/setup");
  } catch (error) {
    drawFrame(null);
    main.replaceChildren(errorMessage(error));
    return;
  }
  const run = setup.runs.find((each) => each.name === state.run) || setup.runs[0];
  currentRun = run;
  // Another run may have fewer images.
  const [, split, place] = /^(train|val|test|index)-(\d+)$/.exec(state.img ?? "") || [];
  if (split && !(Number(place) < (run.counts[split] ?? 0))) delete state.img;
  state.img ??= run.samples[0]?.image;
  // Choosing a unit must not scroll the page back to its top, so only the parts that have changed are drawn.
  const key = JSON.stringify([state.tab, run.name, words.lang, applyTheme(), state.img, state.sure, state.set]);
  const focus = document.activeElement?.id;
  if (leaveTab) leaveTab();
  const frame = JSON.stringify([state.tab, run.name, words.lang, applyTheme()]);
  if (frameKey !== frame) drawFrame(run);
  else for (const link of document.querySelectorAll("nav.tabs a")) link.href = address({ tab: link.dataset.tab });
  frameKey = frame;
  leaveTab = TABS[state.tab](main, run, setup, drawnKey === key) || null;
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  drawnKey = key;
}

onGo(draw);
addEventListener("weights", () => {
  setup = null; // it names the weights that the answers are of
});
addEventListener("popstate", draw);
addEventListener("hashchange", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file && currentRun) useImage(currentRun, file);
});
for (const kind of ["dragover", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.querySelector(".drop")?.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0] && currentRun) useImage(currentRun, event.dataTransfer.files[0]);
  });
draw();
