// What all tabs share: the state in the address, words of the language, requests, and how elements are made.

export const state = {};
export const words = { lang: "en", all: {} };
const watchers = new Set();
let offline = null;
const DEFAULTS = { tab: "look" };

export function readAddress() {
  const [tab, query] = location.hash.slice(1).split("?");
  for (const key of Object.keys(state)) delete state[key];
  Object.assign(
    state,
    DEFAULTS,
    tab && /^[a-z]+$/.test(tab) ? { tab } : {},
    Object.fromEntries(new URLSearchParams(query || "")),
  );
}

export function address(changes = {}) {
  const next = { ...state, ...changes };
  const { tab, ...rest } = next;
  const query = new URLSearchParams(
    Object.entries(rest).filter(([, value]) => value !== undefined && value !== null && value !== ""),
  );
  return `#${tab}?${query}`;
}

// Changes what is shown. Without `quiet` the whole page is drawn anew.
export function go(changes, { quiet = false } = {}) {
  const next = address(changes);
  for (const [key, value] of Object.entries(changes))
    if (value === null || value === undefined) delete state[key];
    else state[key] = String(value);
  if (quiet) history.replaceState(null, "", next);
  else if (next !== location.hash) {
    history.pushState(null, "", next);
    for (const watcher of watchers) watcher();
  }
}
export const onGo = (watcher) => watchers.add(watcher);

export function t(key, values = {}) {
  const text = words.all[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
export async function loadWords(lang) {
  words.all = await (await fetch(`/page/${lang === "zh" ? "zh" : "en"}.json`)).json();
  words.lang = lang;
}

export class Refused extends Error {}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new Refused(t("gone"));
  }
  back();
  const body = await response.json().catch(() => ({}));
  if (!response.ok)
    throw new Refused(
      [body.what || t("failed", { status: response.status }), body.fix, body.code && `(${body.code})`]
        .filter(Boolean)
        .join(" "),
    );
  return body;
}
export const route = (...parts) => `/explorer/${parts.map(encodeURIComponent).join("/")}`;

// The server is looked for every two seconds; when it answers again the page goes on where it was.
function lost() {
  if (offline) return;
  const banner = document.getElementById("banner");
  banner.textContent = t("gone");
  banner.hidden = false;
  offline = setInterval(async () => {
    try {
      if ((await fetch("/healthz")).ok) {
        back();
        for (const watcher of watchers) watcher();
      }
    } catch {
      /* still gone */
    }
  }, 2000);
}
function back() {
  if (!offline) return;
  clearInterval(offline);
  offline = null;
  document.getElementById("banner").hidden = true;
}
// A heartbeat finds out that the server has gone while nobody clicks.
setInterval(() => {
  if (!offline && !document.hidden) fetch("/healthz").catch(lost);
}, 3000);

export function h(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "path", "line", "text", "image", "circle", "polyline", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "srcObject" || key === "checked") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
// Three figures at least, and no powers of ten where a reader expects none.
export const short = (value) =>
  Math.abs(value) >= 100
    ? number(Math.round(value))
    : Math.abs(value) >= 1e-3 || value === 0
      ? String(Number(value.toPrecision(3)))
      : value.toExponential(1);
// As many columns as fill whole rows, at most `most`.
export function columns(element, count, most) {
  let wide = Math.min(count, most);
  for (let n = wide; n >= most / 2; n--)
    if (count % n === 0) {
      wide = n;
      break;
    }
  element.style.setProperty("--columns", wide);
  return element;
}
export const number = (value) => value.toLocaleString(words.lang === "zh" ? "zh-CN" : "en-US");
export function waiting(key = "computing") {
  return h("p", { class: "wait", role: "status" }, t(key));
}
export function said(error) {
  return error.name === "AbortError" ? "" : h("p", { class: "said", role: "alert" }, error.message);
}

// Shows what a promise gives in a place, unless something newer is shown there by then.
export async function show(place, promise, draw) {
  const mine = (place.turn = (place.turn || 0) + 1);
  const timer = setTimeout(() => {
    if (place.turn === mine) place.replaceChildren(waiting());
  }, 150);
  try {
    const found = await promise;
    if (place.turn === mine) place.replaceChildren(...[draw(found)].flat().filter(Boolean));
  } catch (error) {
    if (place.turn === mine) place.replaceChildren(said(error));
  } finally {
    clearTimeout(timer);
  }
}
export function chips(label, options, chosen, choose) {
  return h(
    "div",
    { class: "chips", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text),
    ),
  );
}
// Arrow keys move within a grid of buttons, of which Tab reaches one.
export function arrows(grid) {
  const buttons = () => [...grid.children];
  const chosen = buttons().find((each) => each.getAttribute("aria-pressed") === "true") || grid.children[0];
  for (const each of buttons()) each.tabIndex = each === chosen ? 0 : -1;
  grid.addEventListener("keydown", (event) => {
    const all = buttons(),
      at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const wide = all.findIndex((each) => each.offsetTop > all[0].offsetTop);
    const step = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: wide < 0 ? all.length : wide,
      ArrowUp: wide < 0 ? -all.length : -wide,
      Home: -at,
      End: all.length - 1 - at,
    }[event.key];
    const next = step === undefined ? null : all[at + step];
    if (next) {
      event.preventDefault();
      all[at].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  });
  return grid;
}
