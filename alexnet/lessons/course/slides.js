// One slide at a time; the address names it, so that a reload stays there.
const slides = [...document.querySelectorAll(".slide")];
document.documentElement.classList.add("one");
const place = () => Math.min(Math.max(Number(location.hash.slice(2)) || 1, 1), slides.length);
function show() {
  slides.forEach((slide, i) => slide.classList.toggle("shown", i + 1 === place()));
  document.getElementById("place").textContent = `${place()} / ${slides.length}`;
  scrollTo(0, 0);
}
const turn = (by) => {
  location.replace(`#s${Math.min(Math.max(place() + by, 1), slides.length)}`);
  show();
};
document.getElementById("previous").onclick = () => turn(-1);
document.getElementById("next").onclick = () => turn(1);
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const by = { ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1, Home: -1e6, End: 1e6 }[event.key];
  if (by === undefined || (event.key === " " && document.activeElement.matches("button"))) return;
  event.preventDefault();
  turn(by);
});
show();
