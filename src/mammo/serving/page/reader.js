"use strict";
// The reader's page: films on a canvas in their full depth, a box, and the service's answer. Nothing leaves this origin.

const byId = (id) => document.getElementById(id);
const CORNERS = ["x0", "y0", "x1", "y1"];
const state = { films: [], current: 0, unit: "lesion", drag: null };

function headers() {
  const key = byId("key").value;
  return key ? { "X-API-Key": key } : {};
}

async function call(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...(options.headers || {}) } });
  if (response.ok) return response;
  const reason = await response.json().catch(() => ({}));
  if (response.status === 401) byId("key-details").open = true;
  throw new Error(typeof reason.detail === "string" ? reason.detail : `the service answers ${response.status}`);
}

// The model

async function describeModel() {
  try {
    const model = await (await call("v1/model")).json();
    state.unit = model.unit;
    byId("model").textContent = `${model.model.name}, a model of ${model.unit === "lesion" ? "lesions" : "whole films"}`;
    byId("box-fields").hidden = model.unit !== "lesion";
    const point = model.operating_point;
    list(byId("card"), {
      "SHA-256": model.model.model_sha256,
      "record": model.model.version || "unknown",
      "operating point": point ? `${point.rule} ${point.value}: malignant from ${point.threshold.toFixed(3)}` : "none",
      "calibrated": model.calibration ? "yes" : "no",
      "trained on": model.data || "unknown",
      "licence": model.licence,
    });
  } catch (error) {
    byId("model").textContent = error.message;
  }
}

function list(target, entries) {
  target.replaceChildren(...Object.entries(entries).flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Films

async function openFilms(files) {
  const chosen = [...files].slice(0, 4);
  if (!chosen.length) return;
  state.films = [];
  byId("answer").replaceChildren(element("p", "reading …", "hint"));
  for (const file of chosen) {
    try {
      const response = await call("v1/film", { method: "POST", body: file });
      const shape = JSON.parse(response.headers.get("X-Film"));
      state.films.push(makeFilm(file, shape, new Uint16Array(await response.arrayBuffer())));
    } catch (error) {
      byId("answer").replaceChildren(element("p", `${file.name}: ${error.message}`, "error"));
      return;
    }
  }
  state.current = 0;
  byId("answer").replaceChildren(element("p", "Nothing has been asked yet.", "hint"));
  byId("heat-figure").hidden = true;
  showTabs();
  select(0);
}

function makeFilm(file, shape, pixels) {
  const sorted = Float32Array.from({ length: 4096 }, (_, place) => pixels[Math.floor((place * pixels.length) / 4096)]).sort();
  const low = sorted[40], high = Math.max(sorted[4055], low + 1);
  return { file, ...shape, pixels, low, high, first: [low, high], box: null, view: null, picture: null };
}

function showTabs() {
  byId("films").replaceChildren(...state.films.map((film, place) => {
    const tab = element("button", film.file.name.slice(0, 40));
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "canvas");
    tab.addEventListener("click", () => select(place));
    return tab;
  }));
}

function select(place) {
  state.current = place;
  [...byId("films").children].forEach((tab, other) => tab.setAttribute("aria-selected", String(other === place)));
  const film = state.films[place];
  byId("canvas").setAttribute("aria-label", `Film ${film.file.name}, ${film.film_width} by ${film.film_height} px`);
  CORNERS.forEach((id, corner) => { byId(id).value = film.box ? film.box[corner] : ""; });
  allow();
  paint();
}

function allow() {
  const ready = state.films.length && (state.unit !== "lesion" || state.films.every((film) => film.box));
  byId("ask").disabled = !ready;
}

// Painting: from film to screen, a window of greys

function current() { return state.films[state.current]; }

function render(film) {
  const picture = new OffscreenCanvas(film.width, film.height), context = picture.getContext("2d");
  const image = context.createImageData(film.width, film.height), data = new Uint32Array(image.data.buffer);
  const scale = 255 / Math.max(1, film.high - film.low);
  for (let place = 0; place < film.pixels.length; place++) {
    const grey = Math.max(0, Math.min(255, Math.round((film.pixels[place] - film.low) * scale)));
    data[place] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  context.putImageData(image, 0, 0);
  film.picture = picture;
}

function fit(film, canvas) {
  const zoom = Math.min(canvas.width / film.width, canvas.height / film.height);
  film.view = { zoom, x: (canvas.width - film.width * zoom) / 2, y: (canvas.height - film.height * zoom) / 2 };
}

function paint() {
  const canvas = byId("canvas"), film = current(), ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  if (!film) return;
  if (!film.view) fit(film, canvas);
  if (!film.picture) render(film);
  const context = canvas.getContext("2d"), { zoom, x, y } = film.view;
  context.imageSmoothingEnabled = zoom < 2;
  context.drawImage(film.picture, x, y, film.width * zoom, film.height * zoom);
  if (!film.box) return;
  const size = film.film_width / film.width, [x0, y0, x1, y1] = film.box.map((corner) => corner / size);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = "#ffd23f";
  context.strokeRect(x + x0 * zoom, y + y0 * zoom, (x1 - x0) * zoom, (y1 - y0) * zoom);
}

function toFilm(event) {
  const canvas = byId("canvas"), ratio = canvas.width / canvas.clientWidth, film = current();
  const size = film.film_width / film.width, bounds = canvas.getBoundingClientRect();
  const place = (value, offset, limit) => Math.round(Math.max(0, Math.min(limit, ((value * ratio - offset) / film.view.zoom) * size)));
  return [place(event.clientX - bounds.left, film.view.x, film.film_width), place(event.clientY - bounds.top, film.view.y, film.film_height)];
}

function setBox(from, to) {
  const box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
  current().box = box[2] > box[0] && box[3] > box[1] ? box : null;
  CORNERS.forEach((id, corner) => { byId(id).value = current().box ? box[corner] : ""; });
  allow();
  paint();
}

function zoomBy(factor, x, y) {
  const view = current().view;
  const zoom = Math.max(0.02, Math.min(40, view.zoom * factor));
  view.x = x - ((x - view.x) * zoom) / view.zoom;
  view.y = y - ((y - view.y) * zoom) / view.zoom;
  view.zoom = zoom;
  paint();
}

function moveWindow(width, level) {
  const film = current(), range = film.first[1] - film.first[0];
  const middle = (film.low + film.high) / 2 + level * range, half = Math.max(0.5, ((film.high - film.low) * (1 + width)) / 2);
  [film.low, film.high] = [middle - half, middle + half];
  film.picture = null;
  paint();
}

function startDrag(event) {
  if (!current()) return;
  byId("canvas").setPointerCapture(event.pointerId);
  const kind = event.shiftKey ? "window" : event.button === 2 || event.altKey || state.unit !== "lesion" ? "move" : "box";
  state.drag = { kind, from: toFilm(event), x: event.clientX, y: event.clientY };
}

function drag(event) {
  const held = state.drag;
  if (!held) return;
  const dx = event.clientX - held.x, dy = event.clientY - held.y, ratio = window.devicePixelRatio || 1;
  if (held.kind === "box") { setBox(held.from, toFilm(event)); return; }
  if (held.kind === "window") moveWindow(dx / 300, dy / 600);
  else { current().view.x += dx * ratio; current().view.y += dy * ratio; paint(); }
  [held.x, held.y] = [event.clientX, event.clientY];
}

const KEYS = {
  ArrowLeft: () => pan(40, 0), ArrowRight: () => pan(-40, 0), ArrowUp: () => pan(0, 40), ArrowDown: () => pan(0, -40),
  "+": () => zoomCentre(1.25), "=": () => zoomCentre(1.25), "-": () => zoomCentre(0.8),
  "[": () => moveWindow(-0.1, 0), "]": () => moveWindow(0.1, 0), ",": () => moveWindow(0, -0.03), ".": () => moveWindow(0, 0.03),
  "0": () => { const film = current(); [film.low, film.high] = film.first; film.view = film.picture = null; paint(); },
};

function pan(x, y) { current().view.x += x; current().view.y += y; paint(); }
function zoomCentre(factor) { zoomBy(factor, byId("canvas").width / 2, byId("canvas").height / 2); }

// The answer

async function ask() {
  const form = new FormData();
  for (const film of state.films) {
    form.append("file", film.file);
    if (state.unit === "lesion") form.append("box", film.box.join(","));
  }
  byId("ask").disabled = true;
  byId("answer").replaceChildren(element("p", "asking …", "hint"));
  try {
    const answer = await (await call("v1/predict", { method: "POST", body: form })).json();
    byId("answer").replaceChildren(...answer.films.map(reading), ...summary(answer));
    byId("print").disabled = false;
    await explain();
  } catch (error) {
    byId("answer").append(element("p", error.message, "error"));
  } finally {
    allow();
  }
}

function summary(answer) {
  const mean = answer.mean_prob === null ? [] : [element("p", `Mean over ${answer.films.length} views: ${answer.mean_prob.toFixed(3)}`)];
  return [...mean, element("p", `${answer.model.name}, request ${answer.request_id}, ${answer.seconds.toFixed(2)} s`, "hint")];
}

function reading(answer, place) {
  const box = element("article", "", "reading"), number = (value) => (value === null ? "unknown" : value.toFixed(3));
  box.append(element("h3", state.films[place].file.name));
  if (answer.doubt) box.append(element("p", `Is this a mammogram? ${answer.doubt}`, "doubt"));
  box.append(element("p", answer.answer || number(answer.prob), "verdict"));
  box.append(scale(answer));
  const facts = element("dl");
  list(facts, {
    "probability": number(answer.calibrated) + (answer.calibrated === null ? "" : " (calibrated)"),
    "model's score": `${number(answer.prob)}, malignant from ${number(answer.threshold)}`,
    "call": answer.call || "unknown",
    "prediction set": answer.set ? `${answer.set} (at ${answer.confidence})` : "unknown",
  });
  box.append(facts);
  return box;
}

function scale(answer) {
  const bar = element("div", "", "scale");
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `score ${answer.prob.toFixed(3)} of 1`);
  const mark = (name, value, text) => {
    const line = element(name), label = element("span", text);
    line.style.left = label.style.left = `${100 * value}%`;
    bar.append(line, label);
  };
  if (answer.threshold !== null) mark("b", answer.threshold, "threshold");
  const line = element("i");
  line.style.left = `${100 * answer.prob}%`;
  bar.append(line);
  return bar;
}

async function explain() {
  const film = current(), box = state.unit === "lesion" ? `?box=${film.box.join(",")}` : "";
  try {
    const picture = await (await call(`v1/explain${box}`, { method: "POST", body: film.file })).blob();
    byId("heat").src = URL.createObjectURL(picture);
    byId("heat-figure").hidden = false;
  } catch (error) {
    byId("answer").append(element("p", error.message, "hint"));
  }
}

// Events

function start() {
  const canvas = byId("canvas"), stage = byId("stage");
  byId("files").addEventListener("change", (event) => openFilms(event.target.files));
  byId("ask").addEventListener("click", ask);
  byId("print").addEventListener("click", () => window.print());
  byId("key").addEventListener("change", describeModel);
  byId("key-form").addEventListener("submit", (event) => event.preventDefault());
  CORNERS.forEach((id) => byId(id).addEventListener("change", () => {
    const box = CORNERS.map((corner) => Number(byId(corner).value));
    if (current() && CORNERS.every((corner) => byId(corner).value !== "")) setBox(box.slice(0, 2), box.slice(2));
  }));
  ["dragover", "dragleave", "drop"].forEach((kind) => stage.addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.toggle("over", kind === "dragover");
    if (kind === "drop") openFilms(event.dataTransfer.files);
  }));
  canvas.addEventListener("pointerdown", startDrag);
  canvas.addEventListener("pointermove", drag);
  canvas.addEventListener("pointerup", () => { state.drag = null; });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    if (!current()) return;
    event.preventDefault();
    const bounds = canvas.getBoundingClientRect(), ratio = canvas.width / canvas.clientWidth;
    zoomBy(event.deltaY < 0 ? 1.15 : 0.87, (event.clientX - bounds.left) * ratio, (event.clientY - bounds.top) * ratio);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (!current() || !KEYS[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  window.addEventListener("resize", () => { if (current()) current().view = null; paint(); });
  describeModel();
}

start();
