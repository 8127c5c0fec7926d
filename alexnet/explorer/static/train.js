// Train: a run as its folder tells it, every two seconds while it goes on; save and stop.

import { ask, go, h, number, route, said, state, t } from "./base.js";
import { chart, key, stroke } from "./chart.js";
import { decode, kernelCanvas } from "./paint.js";

const clock = (seconds) => {
  const s = Math.round(seconds),
    m = Math.floor(s / 60);
  return m >= 60 ? `${Math.floor(m / 60)} h ${m % 60} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
};

export function drawTrain(main, run) {
  const top = h("section", { class: "card" }),
    curves = h("section", { class: "card" }),
    kernels = h("section", { class: "card" }),
    notes = h("section", { class: "card", hidden: true });
  main.replaceChildren(top, curves, kernels, notes);
  let ended = false,
    timer = null,
    epoch = -1,
    saidNow = "";

  const send = async (what) => {
    try {
      saidNow = t(`asked.${what}`, { process: (await ask(route(run.name, "ask", what), { method: "POST" })).process });
    } catch (error) {
      saidNow = error.message;
    }
    update();
  };
  const confirmStop = () => {
    const dialog = h(
      "dialog",
      { "aria-label": t("stop"), onclose: () => dialog.remove() },
      h("p", {}, t("reallystop")),
      h(
        "div",
        { class: "chips" },
        h(
          "button",
          {
            type: "button",
            class: "danger",
            onclick: () => {
              dialog.close();
              send("stop");
            },
          },
          t("stop"),
        ),
        h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  };
  const drawKernels = async () => {
    try {
      const found = await ask(route(run.name, "filters")),
        list = found.epochs;
      if (list.length < 2) {
        kernels.hidden = true;
        return;
      }
      const shown = [...new Set([0, 0.12, 0.3, 0.6, 1].map((share) => list[Math.round(share * (list.length - 1))]))];
      const each = await Promise.all(shown.map((at) => ask(`${route(run.name, "filters")}?epoch=${at}`)));
      kernels.hidden = false;
      kernels.replaceChildren(
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, t("evolving")),
          h(
            "span",
            { class: "grow" },
            h("button", { type: "button", onclick: () => go({ tab: "filters" }) }, t("tab.filters")),
          ),
        ),
        h(
          "div",
          { class: "charts" },
          each.map((some, i) => {
            const [units, channels, height, width] = some.shape,
              seen = decode({ ...some, shape: [units, height, width] });
            return h(
              "figure",
              {},
              h(
                "div",
                { class: "kernels", "aria-hidden": "true" },
                [...Array(Math.min(units, 16)).keys()].map((j) => {
                  const unit = Math.floor((j * units) / Math.min(units, 16));
                  return h(
                    "span",
                    {},
                    kernelCanvas(seen.bytes, unit * channels * height * width, channels, height, width),
                  );
                }),
              ),
              h("figcaption", {}, `${t("epoch")} ${shown[i]}`),
            );
          }),
        ),
      );
    } catch {
      kernels.hidden = true;
    }
  };
  const update = async () => {
    let found;
    try {
      found = await ask(route(run.name, "progress"));
    } catch (error) {
      if (!top.firstChild) top.replaceChildren(said(error));
      if (!ended) timer = setTimeout(update, 2000);
      return;
    }
    if (ended) return;
    const last = found.rows.at(-1) || {},
      held = [...found.rows].reverse().find((row) => "val_top1_error" in row) || {};
    const share = found.steps ? found.step / found.steps : found.epoch / found.epochs,
      facts = [
        [t("epoch"), `${found.epoch} / ${found.epochs}`],
        [t("step"), found.steps ? `${number(found.step)} / ${number(found.steps)}` : number(found.step)],
        [t("rate"), found.rate === null ? "–" : String(Number(found.rate.toPrecision(2)))],
        [t("speed"), found.images_per_second === null ? "–" : number(Math.round(found.images_per_second))],
        [t("spent"), found.seconds === null ? "–" : clock(found.seconds)],
        [t("left"), found.eta === null ? "–" : clock(found.eta)],
        [t("heldout"), held.val_top1_error === undefined ? "–" : `${(100 - 100 * held.val_top1_error).toFixed(1)} %`],
      ];
    const bar = h("div");
    bar.style.width = `${100 * Math.min(1, share)}%`;
    const focus = document.activeElement?.id;
    top.replaceChildren(
      ...[
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, run.name),
          h("span", { class: `pill${found.state === "running" ? " live" : ""}` }, t(`state.${found.state}`)),
          h("small", {}, found.process ? t("process", { process: found.process }) : found.host || ""),
          h(
            "span",
            { class: "grow" },
            found.can_ask && h("button", { id: "save", type: "button", onclick: () => send("save") }, t("save")),
            found.can_ask &&
              h("button", { id: "stop", class: "danger", type: "button", onclick: confirmStop }, t("stop")),
            (found.can_ask || found.state !== "finished") &&
              h(
                "button",
                {
                  id: "newest",
                  type: "button",
                  onclick: async () => {
                    try {
                      saidNow = t(
                        (await ask("/v1/reload", { method: "POST" })).changed.length ? "reloaded" : "unchanged",
                      );
                    } catch (error) {
                      saidNow = error.message;
                    }
                    update();
                  },
                },
                t("newest"),
              ),
          ),
        ),
        saidNow && h("p", { role: "status" }, saidNow),
        h(
          "div",
          {
            class: "meter",
            role: "progressbar",
            "aria-label": t("tab.train"),
            "aria-valuenow": Math.round(100 * share),
            "aria-valuemin": 0,
            "aria-valuemax": 100,
          },
          bar,
        ),
        h(
          "dl",
          { class: "facts" },
          facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
        ),
      ].filter(Boolean),
    );
    if (focus) document.getElementById(focus)?.focus();
    if (found.epoch !== epoch) {
      epoch = found.epoch;
      const line = (name, at, scale = 1) => ({
        name,
        points: found.rows.filter((row) => Number.isFinite(row[at])).map((row) => [row.epoch, scale * row[at]]),
      });
      curves.replaceChildren(
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, t("curves")),
          h("span", { class: "grow" }, key([t("training"), t("heldoutline")])),
        ),
        found.rows.length
          ? h(
              "div",
              { class: "charts" },
              chart(t("loss"), [line(t("training"), "train_loss"), line(t("heldoutline"), "val_loss")]),
              chart(
                t("top1error"),
                [line(t("training"), "train_top1_error", 100), line(t("heldoutline"), "val_top1_error", 100)],
                { unit: " %" },
              ),
              chart(t("rate"), [{ ...line(t("rate"), "lr"), style: stroke(0) }], { log: true }),
            )
          : h("p", { class: "muted" }, t("noepoch")),
      );
      drawKernels();
    }
    notes.hidden = !found.notes.length;
    notes.replaceChildren(
      h("h2", {}, t("notes")),
      h(
        "ul",
        {},
        found.notes.map((note) => h("li", {}, `${t("step")} ${note.step}: ${note.text}`)),
      ),
    );
    if (!ended) timer = setTimeout(update, found.state === "finished" ? 10000 : 2000);
  };
  update();
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
