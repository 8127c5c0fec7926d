// The tab Train: the progress of a run, read from its folder every two seconds while it trains; save and stop.

import { errorMessage, fetchJson, go, h, number, route, t } from "./base.js";
import { chart, legend, stroke } from "./chart.js";
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
  let closed = false,
    timer = null,
    drawnEpoch = -1,
    message = "";

  const send = async (what) => {
    try {
      const { process } = await fetchJson(route(run.name, "ask", what), { method: "POST" });
      message = t(`asked.${what}`, { process });
    } catch (error) {
      message = error.message;
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
      const { epochs } = await fetchJson(route(run.name, "filters"));
      if (epochs.length < 2) {
        kernels.hidden = true;
        return;
      }
      const shown = [
        ...new Set([0, 0.12, 0.3, 0.6, 1].map((share) => epochs[Math.round(share * (epochs.length - 1))])),
      ];
      const sheets = await Promise.all(shown.map((epoch) => fetchJson(`${route(run.name, "filters")}?epoch=${epoch}`)));
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
          sheets.map((sheet, i) => {
            const [units, channels, height, width] = sheet.shape,
              weights = decode({ ...sheet, shape: [units, height, width] });
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
                    kernelCanvas(weights.bytes, unit * channels * height * width, channels, height, width),
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
    let progress;
    try {
      progress = await fetchJson(route(run.name, "progress"));
    } catch (error) {
      if (!top.firstChild) top.replaceChildren(errorMessage(error));
      if (!closed) timer = setTimeout(update, 2000);
      return;
    }
    if (closed) return;
    const validated = [...progress.rows].reverse().find((row) => "val_top1_error" in row) || {};
    const share = progress.steps ? progress.step / progress.steps : progress.epoch / progress.epochs,
      facts = [
        [t("epoch"), `${progress.epoch} / ${progress.epochs}`],
        [t("step"), progress.steps ? `${number(progress.step)} / ${number(progress.steps)}` : number(progress.step)],
        [t("learningrate"), progress.rate === null ? "–" : String(Number(progress.rate.toPrecision(2)))],
        [t("speed"), progress.images_per_second === null ? "–" : number(Math.round(progress.images_per_second))],
        [t("spent"), progress.seconds === null ? "–" : clock(progress.seconds)],
        [t("left"), progress.eta === null ? "–" : clock(progress.eta)],
        [
          t("valaccuracy"),
          validated.val_top1_error === undefined ? "–" : `${(100 - 100 * validated.val_top1_error).toFixed(1)} %`,
        ],
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
          h("span", { class: `pill${progress.state === "running" ? " live" : ""}` }, t(`state.${progress.state}`)),
          h("small", {}, progress.process ? t("process", { process: progress.process }) : progress.host || ""),
          h(
            "span",
            { class: "grow" },
            progress.can_ask && h("button", { id: "save", type: "button", onclick: () => send("save") }, t("save")),
            progress.can_ask &&
              h("button", { id: "stop", class: "danger", type: "button", onclick: confirmStop }, t("stop")),
            (progress.can_ask || progress.state !== "finished") &&
              h(
                "button",
                {
                  id: "newest",
                  type: "button",
                  onclick: async () => {
                    try {
                      const { changed } = await fetchJson("v1/reload", { method: "POST" });
                      message = t(changed.length ? "reloaded" : "unchanged");
                      if (changed.length) dispatchEvent(new Event("weights"));
                    } catch (error) {
                      message = error.message;
                    }
                    update();
                  },
                },
                t("newest"),
              ),
          ),
        ),
        message && h("p", { role: "status" }, message),
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
    if (progress.epoch !== drawnEpoch) {
      drawnEpoch = progress.epoch;
      const line = (name, key, scale = 1) => ({
        name,
        points: progress.rows.filter((row) => Number.isFinite(row[key])).map((row) => [row.epoch, scale * row[key]]),
      });
      curves.replaceChildren(
        h(
          "div",
          { class: "bar-head" },
          h("h2", {}, t("curves")),
          h("span", { class: "grow" }, legend([t("training"), t("validation")])),
        ),
        progress.rows.length
          ? h(
              "div",
              { class: "charts" },
              chart(t("loss"), [line(t("training"), "train_loss"), line(t("validation"), "val_loss")]),
              chart(
                t("top1error"),
                [line(t("training"), "train_top1_error", 100), line(t("validation"), "val_top1_error", 100)],
                { unit: " %" },
              ),
              chart(t("learningrate"), [{ ...line(t("learningrate"), "lr"), style: stroke(0) }], { log: true }),
            )
          : h("p", { class: "muted" }, t("noepoch")),
      );
      drawKernels();
    }
    notes.hidden = !progress.notes.length;
    notes.replaceChildren(
      h("h2", {}, t("notes")),
      h(
        "ul",
        {},
        progress.notes.map((note) => h("li", {}, `${t("step")} ${note.step}: ${note.text}`)),
      ),
    );
    if (!closed) timer = setTimeout(update, progress.state === "finished" ? 10000 : 2000);
  };
  update();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}
