// How sure an answer must be: the choices, what they ask the server for, and what it says of one image.

import { go, h, state, t } from "./base.js";

const SHARES = ["0.8", "0.9", "0.95", "0.99"];

// The parameters that go with a request for the answers to an image.
export function sureQuery() {
  const query = new URLSearchParams();
  if (SHARES.includes(state.sure)) query.set("min_precision", state.sure);
  if (SHARES.includes(state.set)) query.set("coverage", state.set);
  return String(query) && `?${query}`;
}

function choice(key, label) {
  const options = ["", ...SHARES].map((share) =>
    h("option", { value: share }, share ? `${Math.round(100 * Number(share))} %` : t("sure.off")),
  );
  const select = h("select", { id: `choose-${key}`, onchange: () => go({ [key]: select.value || null }) }, options);
  select.value = SHARES.includes(state[key]) ? state[key] : "";
  return h("label", {}, `${label} `, select);
}

// Of a run without a measured validation split nothing can be promised, so there is nothing to choose.
export function sureChoices(run) {
  return run.calibrated
    ? h("p", { id: "sure" }, choice("sure", t("sure.least")), " ", choice("set", t("sure.set")))
    : h("p", { class: "muted" }, h("small", {}, t("sure.none")));
}

// What the server says of an image, if it was asked for.
export function sureAnswer(data) {
  return [
    data.none_of_these && h("p", {}, h("b", {}, t("none")), h("br"), h("small", {}, t("none.note"))),
    data.sure !== null && h("p", {}, h("b", {}, data.sure ? t("sure.yes", { name: data.one[0].name }) : t("sure.no"))),
    data.prediction_set && h("p", {}, `${t("sure.among")}: `, h("b", {}, data.prediction_set.join(", "))),
    ...data.promise.map((each) => h("p", { class: "muted" }, h("small", {}, each))),
  ];
}
