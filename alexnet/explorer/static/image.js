// The image to classify: chosen, dropped, pasted or taken by the camera; and how the image and its classes are shown.

import { errorMessage, fetchJson, go, h, percent, route, state, t, withArrowKeys } from "./base.js";

export const imageUrl = (run, img) => route(run.name, "image", img);

// Sends the server an image file that was chosen, dropped, pasted or taken, and shows what the run predicts for it.
export async function useImage(run, file) {
  const panel = document.getElementById("answers");
  try {
    const sent = await fetchJson(`explorer/images?run=${encodeURIComponent(run.name)}`, {
      method: "POST",
      body: file,
    });
    go({
      tab: ["learn", "why", "similar"].includes(state.tab) ? state.tab : "look",
      img: sent.image,
      class: null,
      crop: null,
    });
    const answers = document.getElementById("answers");
    // The result of one view has come with the name of the image; that of ten views follows.
    if (answers && !answers.querySelector(".bars")) answers.replaceChildren(h("h3", {}, t("one")), topBars(sent.one));
  } catch (error) {
    (panel || document.getElementById("main")).prepend(errorMessage(error));
  }
}

export function topBars(top, truth = null, choose = null, chosen = null) {
  return h(
    "ol",
    { class: "bars" },
    top.map((each) => {
      const fill = h("span", { class: "fill" });
      fill.style.width = `${100 * each.probability}%`;
      const content = [fill, h("b", {}, each.name), h("span", {}, percent(each.probability))];
      const kind = each.name === truth ? "true" : null;
      return choose
        ? h(
            "li",
            { class: kind },
            h(
              "button",
              { type: "button", "aria-pressed": String(each.index === chosen), onclick: () => choose(each.index) },
              content,
            ),
          )
        : h("li", { class: kind }, content);
    }),
  );
}

export function photo(run, img, alt, ...overlays) {
  return h(
    "div",
    { class: `photo${run.prepare_size < 128 ? " tiny" : ""}` },
    h("img", { src: imageUrl(run, img), alt }),
    overlays,
  );
}

export function chooser(run) {
  const input = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    onchange: () => input.files[0] && useImage(run, input.files[0]),
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
    withArrowKeys(
      h(
        "div",
        { class: "samples", role: "group", "aria-label": t("samples") },
        run.samples.map((each) =>
          h(
            "button",
            {
              type: "button",
              title: each.truth || each.file,
              "aria-label": `${t("sample")} ${each.image}: ${each.truth || ""}`,
              "aria-pressed": String(each.image === state.img),
              onclick: () => go({ img: each.image, class: null, crop: null }),
            },
            h("img", { src: imageUrl(run, each.image), alt: "", loading: "lazy" }),
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
    document.getElementById("answers")?.replaceChildren(errorMessage(new Error(t("nocamera"))));
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
                useImage(run, blob);
              },
              "image/jpeg",
              0.92,
            );
          },
        },
        t("takephoto"),
      ),
      h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}
