"use strict";
const picture = document.querySelector("svg");
const whole = picture.getAttribute("viewBox").split(" ").map(Number);
const [out, near, all] = document.querySelectorAll(".zoom button");
let view = whole.slice();
function show(next) {
  const width = Math.min(whole[2], Math.max(whole[2] / 40, next[2]));
  const height = width * whole[3] / whole[2];
  view = [
    Math.min(whole[2] - width, Math.max(0, next[0])),
    Math.min(whole[3] - height, Math.max(0, next[1])),
    width,
    height,
  ];
  picture.setAttribute("viewBox", view.join(" "));
  all.hidden = width === whole[2];
}
function zoom(factor, x, y) {
  const [px, py] = [view[0] + x * view[2], view[1] + y * view[3]];
  const [width, height] = [view[2] * factor, view[3] * factor];
  show([px - x * width, py - y * height, width, height]);
}
function place(event) {
  const box = picture.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}
/* The middle of the part of the picture that is on the screen. */
function middle() {
  const box = picture.getBoundingClientRect();
  const [top, bottom] = [Math.max(0, box.top), Math.min(innerHeight, box.bottom)];
  return [0.5, ((top + bottom) / 2 - box.top) / box.height];
}
out.addEventListener("click", () => zoom(1.5, ...middle()));
near.addEventListener("click", () => zoom(1 / 1.5, ...middle()));
all.addEventListener("click", () => show(whole));
out.setAttribute("aria-label", "Zoom out");
near.setAttribute("aria-label", "Zoom in");
picture.addEventListener("wheel", (event) => {
  if (event.ctrlKey) {
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 300), ...place(event));
  }
}, { passive: false });
picture.addEventListener("pointermove", (event) => {
  if (event.buttons === 1 && view[2] < whole[2]) {
    const box = picture.getBoundingClientRect();
    show([
      view[0] - event.movementX * view[2] / box.width,
      view[1] - event.movementY * view[3] / box.height,
      view[2],
      view[3],
    ]);
  }
});
all.hidden = true;
document.querySelector(".zoom").hidden = false;
