"use strict";
const frame = document.querySelector(".frame");
const picture = frame.firstElementChild;
const [out, near, all] = document.querySelectorAll(".zoom button");
let scale = 1;
/* The point under x, y of the window stays there. */
function zoom(factor, x, y) {
  const before = picture.getBoundingClientRect();
  const whole = before.width / scale;
  scale = Math.min(8, Math.max(1, scale * factor));
  picture.style.width = scale === 1 ? "" : `${whole * scale}px`;
  const after = picture.getBoundingClientRect();
  frame.scrollLeft += after.left - x + (x - before.left) * after.width / before.width;
  scrollBy(0, after.top - y + (y - before.top) * after.height / before.height);
  all.hidden = scale === 1;
}
/* The middle of the part of the picture that is on the screen. */
function middle() {
  const box = picture.getBoundingClientRect();
  const edge = frame.getBoundingClientRect();
  const [top, bottom] = [Math.max(0, box.top), Math.min(innerHeight, box.bottom)];
  return [edge.left + edge.width / 2, (top + bottom) / 2];
}
out.addEventListener("click", () => zoom(1 / 1.5, ...middle()));
near.addEventListener("click", () => zoom(1.5, ...middle()));
all.addEventListener("click", () => zoom(0, ...middle()));
out.setAttribute("aria-label", "Zoom out");
near.setAttribute("aria-label", "Zoom in");
frame.addEventListener("wheel", (event) => {
  if (event.ctrlKey) {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  }
}, { passive: false });
frame.addEventListener("pointermove", (event) => {
  if (event.buttons === 1 && event.pointerType === "mouse" && scale > 1) {
    frame.scrollLeft -= event.movementX;
    scrollBy(0, -event.movementY);
  }
});
all.hidden = true;
document.querySelector(".zoom").hidden = false;
