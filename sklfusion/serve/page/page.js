// The page of a served model. No library; nothing is asked of any other address.

const at = (id) => document.getElementById(id);
const CLASSES_SHOWN = 12;   // bars before "show all"
const ROWS_SHOWN = 200;     // rows of a table on the screen; the download has all
const TEXTS_AT_ONCE = 32;   // rows in one request
const CHARACTERS_AT_ONCE = 400_000;

export let about = { classes: [], cascade: false, multilabel: false, thresholds: {} };
let token = "";
let last = null;            // the last answer to one text
let table = null;           // { names, rows, delimiter, file, answers, column }
let stopped = false;

// ------------------------------------------------------------------------------- the service

export class Told extends Error {}

export async function ask(path, body) {
  const headers = { ...(body && { "Content-Type": "application/json" }) };
  if (token) headers.Authorization = `Bearer ${token}`;
  let reply;
  try {
    reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Told("The service cannot be reached. Is it still running?");
  }
  if (reply.status === 401) {
    at("token-form").hidden = false;
    throw new Told("This service wants a token.");
  }
  if (reply.ok && !reply.headers.get("Content-Type").startsWith("application/json")) return reply.text();
  const told = await reply.json().catch(() => ({}));
  if (reply.ok) return told;
  const error = new Told(told.error?.message ?? `The service answered ${reply.status}.`);
  error.retry = reply.status === 429 || reply.status === 503 ? Number(reply.headers.get("Retry-After") || 1) : 0;
  error.status = reply.status;
  throw error;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function predict(texts, sources) {
  const body = { texts, sources, ask: about.cascade && !at("ask").checked ? "never" : "auto" };
  for (let tries = 0; ; tries += 1) {
    try {
      return (await ask("predict", body)).predictions;
    } catch (error) {
      if (error.status !== 429 || tries > 20 || stopped) throw error;
      await pause(error.retry);
    }
  }
}

export function show(error) {
  const box = at("error");
  box.hidden = !error;
  box.textContent = error ? (error instanceof Told ? error.message : `The page failed: ${error.message}`) : "";
}

export async function trying(button, work) {
  show(null);
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    show(error);
  } finally {
    button.disabled = false;
  }
}

// ----------------------------------------------------------------------------------- drawing

export function make(tag, { text, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

const percent = (p) => (p > 0 && p < 0.001 ? "< 0.1 %" : `${(100 * p).toFixed(1)} %`);
const names = (label) => (Array.isArray(label) ? label.join(", ") || "no label" : String(label ?? "no answer"));

// How sure an answer is: the likeliest class, or with several labels the least sure of them.
function sureness(answer) {
  const all = Object.values(answer.probabilities ?? {});
  if (!all.length) return 0;
  return about.multilabel ? Math.min(...all.map((p) => Math.max(p, 1 - p))) : Math.max(...all);
}
const isUnsure = (answer) => sureness(answer) < Number(at("threshold").value);

function bar(p) {
  if (p === undefined) return make("span", { className: "hint", text: "no answer" });
  const fill = make("i");
  fill.style.setProperty("--share", `${100 * p}%`);
  return make("span", { className: "bar" }, make("span", { ariaHidden: "true" }, fill), make("span", { text: percent(p) }));
}

function heading(name, trust) {
  const cell = make("th", { scope: "col", text: name });
  if (trust !== undefined && trust !== null) cell.append(make("small", { text: `trust ${trust.toFixed(2)}` }));
  return cell;
}

function barTable(answer, all) {
  const columns = [{ name: "model", probabilities: answer.probabilities }, ...answer.sources];
  const order = Object.keys(answer.probabilities).sort((a, b) => answer.probabilities[b] - answer.probabilities[a]);
  const shown = all ? order : order.slice(0, CLASSES_SHOWN);
  const chosen = new Set([answer.label].flat().map(String));
  const head = make("tr", {}, make("th", { scope: "col", text: "class" }), ...columns.map((c) => heading(c.name, c.trust)));
  const body = shown.map((name) => {
    const row = make("tr", { className: chosen.has(name) ? "top" : "" }, make("th", { scope: "row", text: name }));
    columns.forEach((column, k) => {
      const cell = make("td", { className: k ? "" : "fused" }, bar(column.probabilities?.[name]));
      const trust = column.trust == null ? "" : `, trust ${column.trust.toFixed(2)}`;
      cell.dataset.source = column.name + trust;
      row.append(cell);
    });
    return row;
  });
  const caption = make("caption", { text: "What each source says by itself, and what the model makes of it" });
  const made = make("table", { className: "bars" }, caption, make("thead", {}, head), make("tbody", {}, ...body));
  const box = make("div", {}, made);
  if (shown.length < order.length) {
    const more = make("button", { type: "button", className: "more", text: `Show all ${order.length} classes` });
    more.addEventListener("click", () => box.replaceWith(barTable(answer, true)));
    box.append(more);
  }
  return box;
}

function asked(answer) {
  if (answer.asked_llm === undefined) return [];
  const said = answer.asked_llm ? "LLM was asked" : "LLM was not asked";
  const doubt = answer.doubt === null ? "" : `, doubt ${answer.doubt.toFixed(2)}`;
  return [make("span", { className: "chip", text: said + doubt })];
}

function drawResult() {
  if (!last) return;
  if (!last.probabilities) {
    at("result").replaceChildren(make("p", { text: "The model has no answer to this text." }));
    return;
  }
  const unsure = isUnsure(last);
  const words = unsure ? "unsure" : "sure enough";
  const chip = make("span", { className: unsure ? "chip unsure" : "chip", text: `${words}, ${percent(sureness(last))}` });
  const line = make("div", { className: "answer" }, make("h2", { text: names(last.label) }), chip, ...asked(last));
  at("result").replaceChildren(line, barTable(last, false));
}

// ---------------------------------------------------------------------------------- one text

async function classify() {
  const text = at("text").value;
  if (!text.trim()) throw new Told("Write a text first.");
  [last] = await predict([text], true);
  drawResult();
}

// ------------------------------------------------------------------------------------ tables

// Rows of cells: quoted cells may hold delimiters, line breaks and doubled quotes.
export function parseTable(said, delimiter) {
  const rows = [];
  let row = [], cell = "", quoted = false, wasQuoted = false;
  const endCell = () => { row.push(cell); cell = ""; wasQuoted = false; };
  const endRow = () => {
    const blank = row.length === 0 && cell === "" && !wasQuoted;
    if (!blank) { endCell(); rows.push(row); }
    row = [];
  };
  for (let i = 0; i < said.length; i += 1) {
    const c = said[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (said[i + 1] === '"') { cell += '"'; i += 1; }
      else quoted = false;
    } else if (c === '"' && cell === "") { quoted = true; wasQuoted = true; }
    else if (c === delimiter) endCell();
    else if (c === "\n") endRow();
    else if (c === "\r") { if (said[i + 1] !== "\n") endRow(); }
    else cell += c;
  }
  endRow();
  return rows;
}

// The delimiter that the first line has most of, outside quotes.
export function guessDelimiter(said) {
  const first = said.slice(0, 10_000).replace(/"[^"]*"/g, "").split(/\r?\n|\r/)[0];
  const count = (d) => first.split(d).length;
  return [",", ";", "\t"].reduce((best, d) => (count(d) > count(best) ? d : best));
}

export function writeTable(rows, delimiter, safe) {
  const write = (value) => {
    let cell = String(value);
    if (safe && /^[=+\-@\t\r]/.test(cell) && !/^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(cell)) cell = `'${cell}`;
    return /["\r\n]/.test(cell) || cell.includes(delimiter) ? `"${cell.replaceAll('"', '""')}"` : cell;
  };
  return rows.map((row) => row.map(write).join(delimiter)).join("\r\n") + "\r\n";
}

function guessColumn(header, rows) {
  const named = header.findIndex((name) => /^(text|texts|sentence|content|body|message)$/i.test(name.trim()));
  if (named >= 0) return named;
  const some = rows.slice(0, 100);
  const lengths = header.map((_, k) => some.reduce((sum, row) => sum + (row[k]?.length ?? 0), 0));
  return lengths.indexOf(Math.max(...lengths));
}

async function readFile(file) {
  show(null);
  at("table-done").hidden = true;
  at("table-status").textContent = "";
  try {
    const bytes = await file.arrayBuffer();
    let said;
    try {
      said = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new Told(`${file.name} is not in UTF-8; save it as "CSV UTF-8".`);
    }
    const delimiter = guessDelimiter(said);
    const [header, ...rows] = parseTable(said, delimiter);
    if (!rows.length) throw new Told(`${file.name} has no rows below its heading.`);
    table = { names: header, rows, delimiter, file: file.name, answers: [] };
    at("column").replaceChildren(...header.map((name, k) => make("option", { value: k, text: name || `column ${k + 1}` })));
    at("column").value = guessColumn(header, rows);
    at("n-rows").textContent = `${rows.length} rows`;
    at("table-form").hidden = false;
    at("table-status").textContent = `${file.name}: ${rows.length} rows, ${header.length} columns.`;
  } catch (error) {
    at("table-form").hidden = true;
    show(error);
  }
}

// Numbers of the rows of one request: not too many, not too long, none empty.
function nextRows(from) {
  const chosen = [];
  let k = from, length = 0;
  for (; k < table.rows.length && chosen.length < TEXTS_AT_ONCE && length < CHARACTERS_AT_ONCE; k += 1) {
    const text = table.rows[k][table.column] ?? "";
    if (text.trim()) { chosen.push(k); length += text.length; }
  }
  return [chosen, k];
}

async function classifyTable() {
  table.column = Number(at("column").value);
  table.answers = new Array(table.rows.length).fill(null);
  stopped = false;
  at("stop").hidden = at("progress").hidden = false;
  at("table-done").hidden = true;
  let done = 0;
  try {
    while (done < table.rows.length && !stopped) {
      const [chosen, next] = nextRows(done);
      if (chosen.length) {
        const told = await predict(chosen.map((k) => table.rows[k][table.column]), false);
        chosen.forEach((k, i) => { table.answers[k] = told[i]; });
      }
      done = next;
      at("progress").value = done / table.rows.length;
    }
  } finally {
    at("stop").hidden = at("progress").hidden = true;
    const n = table.answers.filter(Boolean).length;
    const rest = done < table.rows.length ? `, stopped after ${done}` : "";
    const empty = done - n ? `, ${done - n} without a text` : "";
    at("table-status").textContent = `${n} of ${table.rows.length} rows classified${empty}${rest}.`;
    if (n) drawTable();
  }
}

function drawTable() {
  const answered = table.answers.filter(Boolean);
  const counts = new Map();
  answered.forEach((a) => counts.set(names(a.label), (counts.get(names(a.label)) ?? 0) + 1));
  const unsure = answered.filter(isUnsure).length;
  const lines = [...counts].sort((a, b) => b[1] - a[1]).slice(0, CLASSES_SHOWN).map(([name, n]) =>
    make("tr", {}, make("th", { scope: "row", text: name }), make("td", {}, bar(n / answered.length)), make("td", { text: n })));
  const caption = make("caption", { text: `Labels; ${unsure} of ${answered.length} rows are unsure` });
  at("counts").replaceChildren(make("table", {}, caption, make("tbody", {}, ...lines)));
  const head = make("tr", {}, ...["row", "text", "label", "how sure"].map((text) => make("th", { scope: "col", text })));
  const only = at("unsure-only").checked;
  const wanted = table.answers.map((a, k) => [a, k]).filter(([a]) => (only ? a && isUnsure(a) : a));
  const body = wanted.slice(0, ROWS_SHOWN).map(([a, k]) => {
    const chip = make("span", { className: isUnsure(a) ? "chip unsure" : "chip", text: `${isUnsure(a) ? "unsure " : ""}${percent(sureness(a))}` });
    const text = table.rows[k][table.column];
    return make("tr", {}, make("td", { text: k + 1 }), make("td", { text: text.length > 300 ? `${text.slice(0, 300)}…` : text }),
      make("td", { text: names(a.label) }), make("td", {}, chip));
  });
  const told = wanted.length > body.length ? `The first ${body.length} of ${wanted.length} rows; the download has all` : `${body.length} rows`;
  at("rows").replaceChildren(make("caption", { text: told }), make("thead", {}, head), make("tbody", {}, ...body));
  at("table-done").hidden = false;
}

export function tableWithAnswers() {
  const classes = about.classes.map(String);
  const head = [...table.names, "label", "sure", ...classes.map((name) => `p_${name}`)];
  const rows = table.rows.map((row, k) => {
    const cells = table.names.map((_, i) => row[i] ?? "");
    const answer = table.answers[k];
    if (!answer?.probabilities) return [...cells, "", "", ...classes.map(() => "")];
    return [...cells, names(answer.label), isUnsure(answer) ? "no" : "yes", ...classes.map((c) => answer.probabilities[c])];
  });
  return [head, ...rows];
}

function download() {
  const said = writeTable(tableWithAnswers(), table.delimiter, at("safe").checked);
  save(["\ufeff", said], "text/csv", table.file.replace(/(\.[^.]*)?$/, "_labelled.csv"));
}

export function save(parts, type, name) {
  const link = make("a", { href: URL.createObjectURL(new Blob(parts, { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ------------------------------------------------------------------------------------- start

export function chooseTab(tab) {
  for (const other of document.querySelectorAll('[role="tab"]')) {
    const chosen = other === tab;
    other.ariaSelected = String(chosen);
    other.tabIndex = chosen ? 0 : -1;
    at(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  at("settings").hidden = tab.id === "tab-label";
}

function moveTab(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const tabs = [...document.querySelectorAll('[role="tab"]:not([hidden])')];
  const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
  chooseTab(next);
  next.focus();
}

export async function meet() {
  const [model] = (await ask("v1/models")).data;
  about = model.x_about;
  document.title = `${model.id} · sklfusion`;
  at("model").textContent = model.id;
  const kind = about.multilabel ? "labels, several per text" : "classes";
  const some = about.classes.slice(0, 8).join(", ") + (about.classes.length > 8 ? ", …" : "");
  const cut = about.thresholds.label === undefined ? "" : `; a label counts from ${percent(about.thresholds.label)}`;
  at("about").textContent = about.model ? `${about.classes.length} ${kind}: ${some}${cut}` : "No model yet: label some texts.";
  at("tab-text").hidden = at("tab-table").hidden = !about.model;
  at("ask-row").hidden = !about.cascade;
  const above = about.thresholds.ask_llm;
  at("ask-above").textContent = above === undefined ? "" : ` (above ${above.toFixed(2)})`;
  document.dispatchEvent(new Event("met"));
}

function listen() {
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    tab.addEventListener("click", () => chooseTab(tab));
    tab.addEventListener("keydown", moveTab);
  }
  const button = at("text-form").querySelector("button");
  at("text-form").addEventListener("submit", (event) => { event.preventDefault(); trying(button, classify); });
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("text-form").requestSubmit();
  });
  at("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = at("token").value;
    at("token-form").hidden = true;
    trying(event.submitter ?? button, meet);
  });
  at("threshold").addEventListener("input", () => {
    at("threshold-value").value = `${Math.round(100 * at("threshold").value)} %`;
    drawResult();
    if (table?.answers.some(Boolean)) drawTable();
  });
  at("file").addEventListener("change", () => { if (at("file").files[0]) readFile(at("file").files[0]); });
  listenToDrops();
  const start = at("table-form").querySelector("button.main");
  at("table-form").addEventListener("submit", (event) => { event.preventDefault(); trying(start, classifyTable); });
  at("stop").addEventListener("click", () => { stopped = true; });
  at("unsure-only").addEventListener("change", drawTable);
  at("download").addEventListener("click", download);
}

function listenToDrops() {
  const zone = at("drop");
  // A file dropped beside the zone would replace the page.
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]);
  });
}

listen();
meet().catch(show);
