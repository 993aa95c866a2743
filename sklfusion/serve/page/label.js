// The tab where a person labels texts. Every answer is kept by the service before the next text.

import { Told, about, ask, chooseTab, make, meet, save, show, trying } from "./page.js";

const at = (id) => document.getElementById(id);
const KEYS = "123456789abcdefghijklmnopqrstuvwxyz"; // of the classes, in their order
const ASKED_EVERY = 1; // seconds between looks at a fit

let view = null;        // what the service told last
let chosen = new Set(); // of a text that can have several labels
let busy = false;
let started = false;

// ------------------------------------------------------------------------------------ drawing

const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

function classButton({ name, rows }, k) {
  const key = KEYS[k];
  const inside = [key && make("kbd", { text: key }), make("span", { text: name }), make("small", { text: rows })];
  const button = make("button", { type: "button" }, ...inside.filter(Boolean));
  button.ariaLabel = `${name}, ${many(rows, "text")}${key ? `, key ${key}` : ""}`;
  const said = at("label-hints").checked && view.current?.said?.[name];
  if (typeof said === "number") button.append(make("small", { text: `model: ${Math.round(100 * said)} %` }));
  if (view.multilabel) button.ariaPressed = String(chosen.has(name));
  button.addEventListener("click", () => choose(name));
  return button;
}

// Buttons stay where they are if the classes do, so that the focus is not lost.
function drawClasses() {
  const box = at("label-classes");
  const focused = [...box.children].indexOf(document.activeElement);
  box.replaceChildren(...view.classes.map(classButton));
  if (focused >= 0) box.children[focused]?.focus();
}

function draw() {
  const done = view.labelled + view.skipped;
  const skipped = view.skipped ? `, ${view.skipped} skipped` : "";
  at("label-progress").textContent = `${view.labelled} of ${many(view.rows, "text")} labelled${skipped}.`;
  at("label-bar").value = done / view.rows;
  const text = view.current ? view.current.text : "Every text has been labelled or skipped.";
  if (at("label-text").textContent !== text) at("label-text").textContent = text;
  at("label-save").hidden = !view.multilabel;
  at("label-save").disabled = at("label-skip").disabled = !view.current;
  at("label-undo").disabled = !view.can_undo;
  at("label-hints-row").hidden = !view.current?.said;
  drawClasses();
  drawModel();
}

function drawModel() {
  const { fitting, failure, labels } = view.model;
  const known = labels ? `Fitted on ${many(labels, "label")}, ${view.labelled - labels} new since.` : "";
  const read = labels === 0 ? "The model has read the texts." : known;
  at("label-model").textContent = fitting ? "Fitting; go on labelling meanwhile." : failure || read;
  at("label-refit").disabled = fitting;
}

// ------------------------------------------------------------------------------------ answers

async function send(path, body, said) {
  if (busy) return;
  busy = true;
  show(null);
  try {
    view = await ask(path, body);
    chosen = new Set();
    draw();
    at("label-status").textContent = said;
  } catch (error) {
    show(error);
  } finally {
    busy = false;
  }
}

function answer(labels) {
  const said = labels.join(", ") || "no label";
  return send("label/answer", { row: view.current.row, labels }, `Saved: ${said}.`);
}

function choose(name) {
  if (!view.current) return;
  if (!view.multilabel) { answer([name]); return; }
  if (!chosen.delete(name)) chosen.add(name);
  drawClasses();
  at("label-status").textContent = [...chosen].join(", ") || "no label";
}

const saveChosen = () => view.current && answer([...chosen]);
const skip = () => view.current && send("label/skip", { row: view.current.row }, "Skipped.");
const undo = () => view.can_undo && send("label/undo", {}, "Undone: the last text is asked again.");

function press(event) {
  const target = event.target;
  const elsewhere = at("panel-label").hidden || !view || !at("label-keys").checked || event.repeat;
  const writing = target.matches("textarea, select, input:not([type=checkbox])");
  if (elsewhere || writing || event.ctrlKey || event.altKey || event.metaKey) return;
  const k = KEYS.indexOf(event.key.toLowerCase());
  if (event.key === "0") skip();
  else if (event.key === "Backspace") undo();
  else if (event.key === "Enter" && view.multilabel && !target.matches("button, input")) saveChosen();
  else if (event.key.length === 1 && k >= 0 && k < view.classes.length) choose(view.classes[k].name);
  else return;
  event.preventDefault();
}

// ------------------------------------------------------------------------- the model and files

// Not by `send`: it would drop an answer given while this reply is under way, and what the reply
// says of the text at hand may be older than that answer.
async function refit() {
  show(null);
  at("label-refit").disabled = true;
  try {
    const { model } = await ask("label/refit", {});
    view.model = model;
  } finally {
    drawModel();
  }
  while (view.model.fitting) {
    await new Promise((done) => setTimeout(done, 1000 * ASKED_EVERY));
    const { model } = await ask("label");
    view.model = model;
    drawModel();
  }
  if (!busy) { view = await ask("label"); draw(); }
  if (!about.model && !view.model.failure) await meet();
}

async function takeTasks(file) {
  let tasks;
  try {
    tasks = JSON.parse(await file.text());
  } catch {
    throw new Told(`${file.name} is not JSON.`);
  }
  if (!Array.isArray(tasks)) throw new Told(`${file.name} holds no list of tasks.`);
  const found = await ask("label/tasks", tasks);
  view = await ask("label");
  draw();
  const parts = Object.entries(found).map(([name, n]) => `${n} ${name}`);
  at("label-status").textContent = `${many(tasks.length, "task")}: ${parts.join(", ")}.`;
}

async function open() {
  if (!about.labelling) return;
  const first = !started;
  started = true;
  at("tab-label").hidden = false;
  view = await ask("label");
  draw();
  if (first && !about.model) chooseTab(at("tab-label"));
}

function listen() {
  document.addEventListener("met", () => open().catch(show));
  document.addEventListener("keydown", press);
  at("label-save").addEventListener("click", saveChosen);
  at("label-skip").addEventListener("click", skip);
  at("label-undo").addEventListener("click", undo);
  at("label-hints").addEventListener("change", drawClasses);
  at("label-refit").addEventListener("click", () => refit().catch(show));
  at("class-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = at("class-name").value;
    await send("label/class", { name }, `Added: ${name}.`);
    if (at("error").hidden) at("class-name").value = "";
  });
  at("label-csv").addEventListener("click", (event) => trying(event.currentTarget, async () => {
    const said = await ask(`label/labels.csv?excel_safe=${at("label-safe").checked}`);
    save(["\ufeff", said], "text/csv", "labels.csv");
  }));
  at("label-tasks").addEventListener("click", (event) => trying(event.currentTarget, async () => {
    save([JSON.stringify(await ask("label/tasks.json"), null, 1)], "application/json", "tasks.json");
  }));
  at("label-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) takeTasks(file).catch(show).finally(() => { event.target.value = ""; });
  });
}

listen();
if (about.model !== undefined) open().catch(show);
