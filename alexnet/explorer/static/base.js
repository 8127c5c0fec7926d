// Shared by all tabs: the state in the address, the texts of the language, requests, and helpers that build elements.

export const state = {};
export const words = { lang: "en", texts: {} };
const listeners = new Set();
let reconnectTimer = null;
const DEFAULTS = { tab: "learn" };

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

// Changes the state and the address. Unless `quiet`, the page is drawn again.
export function go(changes, { quiet = false } = {}) {
  const next = address(changes);
  for (const [key, value] of Object.entries(changes))
    if (value === null || value === undefined) delete state[key];
    else state[key] = String(value);
  if (quiet) history.replaceState(null, "", next);
  else if (next !== location.hash) {
    history.pushState(null, "", next);
    for (const listener of listeners) listener();
  }
}
export const onGo = (listener) => listeners.add(listener);

// The text of a key in the language of the page, with {gaps} filled.
export function t(key, values = {}) {
  const text = words.texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
export async function loadWords(lang) {
  words.texts = await (await fetch(`page/${lang === "zh" ? "zh" : "en"}.json`)).json();
  words.lang = lang;
}

// Sentences of the server in the language of the page; the routes say the same to everyone, in English.
const said = new Map();
async function learnWords(texts) {
  if (words.lang !== "zh") return;
  const fresh = [...new Set(texts)].filter((text) => text && !text.includes("\n") && !said.has(text));
  for (let i = 0; i < fresh.length; i += 4) {
    const asked = fresh.slice(i, i + 4);
    const response = await fetch(`page/said/zh?lines=${encodeURIComponent(asked.join("\n"))}`).catch(() => null);
    const told = response?.ok ? (await response.json()).said : asked;
    asked.forEach((text, at) => said.set(text, told[at]));
  }
}
const inWords = (text) => (words.lang === "zh" && said.get(text)) || text;

// An answer with its sentences in the language of the page: those of its notes, fields and ingredients.
const SENTENCES = ["text", "note", "what", "claim"];
async function translated(body) {
  const lists = ["notes", "fields", "ingredients"].filter((key) => Array.isArray(body?.[key]));
  const keys = (each) => SENTENCES.filter((key) => typeof each[key] === "string");
  const texts = (each) => (typeof each === "string" ? [each] : keys(each).map((key) => each[key]));
  const told = (each) =>
    typeof each === "string"
      ? inWords(each)
      : { ...each, ...Object.fromEntries(keys(each).map((key) => [key, inWords(each[key])])) };
  await learnWords(lists.flatMap((key) => body[key].flatMap(texts)));
  return lists.length ? { ...body, ...Object.fromEntries(lists.map((key) => [key, body[key].map(told)])) } : body;
}

export class RequestError extends Error {}

// Requests JSON from the server, at a path without a leading slash, since a proxy may have put a prefix before the page;
// throws a RequestError with the words of the server. How many are under way stands in the page's `data-pending`.
export async function fetchJson(path, options = {}) {
  const page = document.documentElement;
  page.dataset.pending = Number(page.dataset.pending || 0) + 1;
  try {
    return await responseOf(path, options);
  } finally {
    page.dataset.pending -= 1;
    if (page.dataset.pending === "0") delete page.dataset.pending;
  }
}
async function responseOf(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    onServerLost();
    throw new RequestError(t("serverlost"));
  }
  onServerBack();
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    await learnWords([body.what, body.fix]);
    const what = inWords(body.what) || t("failed", { status: response.status });
    throw new RequestError([what, inWords(body.fix), body.code && `(${body.code})`].filter(Boolean).join(" "));
  }
  return translated(body);
}
export const route = (...parts) => `explorer/${parts.map(encodeURIComponent).join("/")}`;

// Tries to reach the server every two seconds; when it responds again, the page continues where it was.
function onServerLost() {
  if (reconnectTimer) return;
  const banner = document.getElementById("banner");
  banner.textContent = t("serverlost");
  banner.hidden = false;
  reconnectTimer = setInterval(async () => {
    try {
      if ((await fetch("healthz")).ok) {
        onServerBack();
        for (const listener of listeners) listener();
      }
    } catch {
      /* the server still does not respond */
    }
  }, 2000);
}
function onServerBack() {
  if (!reconnectTimer) return;
  clearInterval(reconnectTimer);
  reconnectTimer = null;
  document.getElementById("banner").hidden = true;
}
// A heartbeat notices a lost server also while nobody clicks.
setInterval(() => {
  if (!reconnectTimer && !document.hidden) fetch("healthz").catch(onServerLost);
}, 3000);

// Creates an HTML or SVG element; attributes that start with "on" are event listeners.
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
// At least three digits, and an exponent only for very small values.
export const short = (value) =>
  Math.abs(value) >= 100
    ? number(Math.round(value))
    : Math.abs(value) >= 1e-3 || value === 0
      ? String(Number(value.toPrecision(3)))
      : value.toExponential(1);
// Sets the number of grid columns, at most `limit`, so that the rows are full if possible.
export function withColumns(element, count, limit) {
  let columns = Math.min(count, limit);
  for (let n = columns; n >= limit / 2; n--)
    if (count % n === 0) {
      columns = n;
      break;
    }
  element.style.setProperty("--columns", columns);
  return element;
}
export const number = (value) => value.toLocaleString(words.lang === "zh" ? "zh-CN" : "en-US");
export function waitMessage(key = "computing") {
  return h("p", { class: "wait", role: "status" }, t(key));
}
export function errorMessage(error) {
  return error.name === "AbortError" ? "" : h("p", { class: "error", role: "alert" }, error.message);
}

// Draws the result of a promise into an element, unless a later call for the same element has come by then.
export async function show(element, promise, draw) {
  const turn = (element.turn = (element.turn || 0) + 1);
  const timer = setTimeout(() => {
    if (element.turn === turn) element.replaceChildren(waitMessage());
  }, 150);
  try {
    const result = await promise;
    if (element.turn === turn) element.replaceChildren(...[draw(result)].flat().filter(Boolean));
  } catch (error) {
    if (element.turn === turn) element.replaceChildren(errorMessage(error));
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
// Lets the arrow keys move within a grid of buttons; Tab reaches only one of them.
export function withArrowKeys(grid) {
  const buttons = () => [...grid.children];
  const chosen = buttons().find((each) => each.getAttribute("aria-pressed") === "true") || grid.children[0];
  for (const each of buttons()) each.tabIndex = each === chosen ? 0 : -1;
  grid.addEventListener("keydown", (event) => {
    const all = buttons(),
      index = all.indexOf(document.activeElement);
    if (index < 0) return;
    const columns = all.findIndex((each) => each.offsetTop > all[0].offsetTop);
    const step = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: columns < 0 ? all.length : columns,
      ArrowUp: columns < 0 ? -all.length : -columns,
      Home: -index,
      End: all.length - 1 - index,
    }[event.key];
    const next = step === undefined ? null : all[index + step];
    if (next) {
      event.preventDefault();
      all[index].tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  });
  return grid;
}
