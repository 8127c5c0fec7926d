// A picture of the reader: chosen, dropped, pasted or taken by the camera; and how it and its classes are shown.

import { arrows, ask, go, h, percent, route, said, state, t } from "./base.js";

export const pictureUrl = (run, img) => route(run.name, "picture", img);

// Gives a run a picture that someone chose, dropped, pasted or took, and shows what it says of it.
export async function usePicture(run, file) {
  const place = document.getElementById("answers");
  try {
    const found = await ask(`/explorer/images?run=${encodeURIComponent(run.name)}`, { method: "POST", body: file });
    go({
      tab: state.tab === "why" || state.tab === "similar" ? state.tab : "look",
      img: found.picture,
      class: null,
      crop: null,
    });
    const bars = document.getElementById("answers");
    // What one view says has come with the picture's name; ten views follow.
    if (bars && !bars.querySelector(".bars")) bars.replaceChildren(h("h3", {}, t("one")), topBars(found.one));
  } catch (error) {
    (place || document.getElementById("main")).prepend(said(error));
  }
}

export function topBars(top, truth = null, choose = null, chosen = null) {
  return h(
    "ol",
    { class: "bars" },
    top.map((each) => {
      const fill = h("span", { class: "fill" });
      fill.style.width = `${100 * each.probability}%`;
      const inside = [fill, h("b", {}, each.name), h("span", {}, percent(each.probability))];
      const kind = each.name === truth ? "true" : null;
      return choose
        ? h(
            "li",
            { class: kind },
            h(
              "button",
              { type: "button", "aria-pressed": String(each.index === chosen), onclick: () => choose(each.index) },
              inside,
            ),
          )
        : h("li", { class: kind }, inside);
    }),
  );
}

export function photo(run, img, alt, ...over) {
  return h(
    "div",
    { class: `photo${run.prepare_size < 128 ? " tiny" : ""}` },
    h("img", { src: pictureUrl(run, img), alt }),
    over,
  );
}

export function chooser(run) {
  const input = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    onchange: () => input.files[0] && usePicture(run, input.files[0]),
  });
  return h(
    "div",
    {},
    h(
      "div",
      { class: "drop" },
      h("span", {}, t("drop")),
      input,
      h("button", { type: "button", onclick: () => input.click() }, t("choose")),
      navigator.mediaDevices && h("button", { type: "button", onclick: () => webcam(run) }, t("webcam")),
    ),
    arrows(
      h(
        "div",
        { class: "samples", role: "group", "aria-label": t("samples") },
        run.samples.map((each) =>
          h(
            "button",
            {
              type: "button",
              title: each.truth || each.file,
              "aria-label": `${t("sample")} ${each.picture}: ${each.truth || ""}`,
              "aria-pressed": String(each.picture === state.img),
              onclick: () => go({ img: each.picture, class: null, crop: null }),
            },
            h("img", { src: pictureUrl(run, each.picture), alt: "", loading: "lazy" }),
          ),
        ),
      ),
    ),
    run.missing && h("p", { class: "muted" }, t("missing", { why: run.missing })),
  );
}

async function webcam(run) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
  } catch {
    document.getElementById("answers")?.replaceChildren(said(new Error(t("nocam"))));
    return;
  }
  const video = h("video", { autoplay: true, playsinline: true, srcObject: stream });
  video.muted = true;
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    dialog.remove();
  };
  const dialog = h(
    "dialog",
    { "aria-label": t("webcam"), onclose: stop },
    video,
    h(
      "div",
      { class: "chips" },
      h(
        "button",
        {
          class: "main",
          type: "button",
          onclick: () => {
            const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
            canvas.getContext("2d").drawImage(video, 0, 0);
            canvas.toBlob(
              (blob) => {
                dialog.close();
                usePicture(run, blob);
              },
              "image/jpeg",
              0.92,
            );
          },
        },
        t("shoot"),
      ),
      h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
