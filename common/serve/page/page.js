// The page: sends a document to one or two models, shows each summary as it is written, and keeps what people say.
// Text from documents and models is only ever set as text, never as HTML.
"use strict";

const EXAMPLE = `Harbour town votes to keep its night ferry

The town council of Penmarrow voted 9 to 4 on Tuesday evening to keep the night ferry to Saint Orrin running until at
least 2029, after a debate that lasted more than three hours. The ferry, which leaves at 11.40pm, carries about 38
people a night, most of them hospital and fish market workers on late shifts.

The operator, Channel Lines, had asked to end the service in March, saying that each crossing lost it 410 pounds. Under
the new agreement the council pays 160,000 pounds a year towards its costs, and Channel Lines must publish passenger
numbers every month.

"Without the boat I would have to give up my job," said Marta Quill, a nurse who has used it for eleven years. Councillor
Dev Harran, who voted against, said that the same money would pay for a school bus on the whole island.`.replace(/(?<!\n)\n(?!\n)/g, " "); // lines joined, paragraphs kept
const MOST_RETRIES = 5;
const get = (id) => document.getElementById(id);

let token = sessionStorage.getItem("token") || "";
let running = null; // AbortController of the summaries being written

if (location.hash.startsWith("#token=")) {
  token = decodeURIComponent(location.hash.slice(7));
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname); // a token in the address is easily shared by mistake
}

function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers });
}

function postJson(path, body, signal) {
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
}

async function problemOf(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

// ---- the server ---------------------------------------------------------------------------------------------------

async function connect() {
  let answer;
  try {
    answer = await call("api/state");
  } catch {
    get("server").textContent = "the server does not answer";
    return;
  }
  get("token-form").hidden = answer.status !== 401;
  get("ask").hidden = answer.status === 401;
  if (!answer.ok) {
    get("server").textContent = answer.status === 401 ? "a token is needed" : await problemOf(answer);
    return;
  }
  const state = await answer.json();
  get("server").textContent = `${state.models.length === 1 ? "one model" : `${state.models.length} models`}, version ${state.version}`;
  get("model").replaceChildren(...state.models.map((name) => new Option(name, name)));
  get("other").replaceChildren(new Option("nothing", ""), ...state.models.map((name) => new Option(name, name)));
  get("other").value = state.models[1] || "";
  get("other").closest("p").hidden = state.models.length < 2;
  get("base").textContent = `${location.origin}/v1`;
  get("kept").textContent = `Ratings, choices and corrections are kept in ${state.ratings}.`;
}

get("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = get("token").value.trim();
  sessionStorage.setItem("token", token);
  connect();
});

// ---- the document -------------------------------------------------------------------------------------------------

function showSize() {
  const words = get("document").value.trim().split(/\s+/).filter(Boolean).length;
  get("size").textContent = words ? `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}` : "";
  get("clear").disabled = !words;
  get("example").hidden = words > 0;
  if (!running) get("go").disabled = !words;
}

function noteFile(text, failed = false) {
  get("file-note").textContent = text;
  get("file-note").classList.toggle("failed", failed);
}

async function readFile(file) {
  if (!file) return;
  noteFile(`reading ${file.name} …`);
  try {
    const answer = await call(`api/documents?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    if (!answer.ok) return noteFile(await problemOf(answer), true);
    const read = await answer.json();
    get("document").value = read.text;
    noteFile(read.note ? `${file.name}: ${read.note}` : file.name);
    showSize();
  } catch {
    noteFile(`${file.name} could not be sent; it may be too large, or the server has stopped`, true);
  }
}

get("document").addEventListener("input", () => { noteFile(""); showSize(); });
get("file").addEventListener("change", (event) => { readFile(event.target.files[0]); event.target.value = ""; });
get("clear").addEventListener("click", () => setDocument(""));
get("example").addEventListener("click", () => setDocument(EXAMPLE));

function setDocument(text) {
  get("document").value = text;
  noteFile("");
  showSize();
  get("document").focus();
  get("document").setSelectionRange(0, 0);
  get("document").scrollTop = 0;
}

let depth = 0; // of dragenter events, which bubble from every element under the pointer
const hasFile = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
addEventListener("dragenter", (event) => { if (hasFile(event)) { depth += 1; document.body.classList.add("dragging"); } });
addEventListener("dragleave", (event) => { if (hasFile(event)) { depth -= 1; if (depth <= 0) endDrag(); } });
addEventListener("dragover", (event) => { if (hasFile(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  endDrag();
  if (!hasFile(event)) return;
  event.preventDefault();
  readFile(event.dataTransfer.files[0]);
});

function endDrag() {
  depth = 0;
  document.body.classList.remove("dragging");
}

// ---- summaries ----------------------------------------------------------------------------------------------------

get("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else summarize();
});
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running && !get("go").disabled) summarize();
});

async function summarize() {
  const text = get("document").value;
  const names = [get("model").value, get("other").value].filter((name, place, all) => name && all.indexOf(name) === place);
  const cards = names.map((name) => new Card(name, text));
  running = new AbortController();
  get("go").textContent = "Stop";
  get("go").classList.add("stop");
  get("verdict").hidden = true;
  get("results").replaceChildren(...cards.map((card) => card.element));
  get("results").scrollIntoView({ block: "nearest" });
  await Promise.all(cards.map((card) => card.run(running.signal)));
  running = null;
  get("go").textContent = "Summarize";
  get("go").classList.remove("stop");
  showSize();
  if (cards.length === 2 && cards.every((card) => card.text) && cards[0].text !== cards[1].text) askWhichIsBetter(cards);
}

function askWhichIsBetter(cards) {
  const buttons = cards.map((card, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = card.model;
    button.addEventListener("click", async () => {
      const other = cards[1 - place];
      const kept = await keep({
        kind: "choice", document: card.document, chosen: card.text, rejected: other.text, chosen_by: card.model, rejected_by: other.model,
      });
      get("verdict").replaceChildren(kept || `Kept: ${card.model} is better.`);
    });
    return button;
  });
  get("verdict").replaceChildren("Which one is better?", ...buttons);
  get("verdict").hidden = false;
}

// Resolves to "" when the opinion was kept, else to what went wrong.
async function keep(opinion) {
  try {
    const answer = await postJson("api/ratings", { opinion });
    return answer.ok ? "" : `Not kept: ${await problemOf(answer)}`;
  } catch {
    return "Not kept: the server does not answer.";
  }
}

class Card {
  constructor(model, documentText) {
    this.model = model;
    this.document = documentText;
    this.text = "";
    this.element = get("card").content.firstElementChild.cloneNode(true);
    this.find(".name").textContent = model;
    this.find(".copy").addEventListener("click", () => this.copy());
    this.find(".good").addEventListener("click", () => this.rate(1));
    this.find(".bad").addEventListener("click", () => this.rate(-1));
    this.find(".correct").addEventListener("click", () => this.startCorrection());
    this.find(".cancel").addEventListener("click", () => this.endCorrection());
    this.find(".correction").addEventListener("submit", (event) => { event.preventDefault(); this.keepCorrection(); });
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  state(text, failed = false) {
    this.find(".state").textContent = text;
    this.find(".state").classList.toggle("failed", failed);
  }

  async run(signal) {
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.stream(signal);
    } catch (error) {
      if (signal.aborted) this.state("stopped");
      else this.state(error instanceof TypeError ? "the server does not answer" : error.message, true);
    }
    this.element.classList.remove("writing");
    this.element.removeAttribute("aria-busy");
  }

  async stream(signal) {
    const answer = await this.ask(signal);
    if (!answer.ok) throw new Error(await problemOf(answer));
    let shown = "";
    let finished = null;
    for await (const data of events(answer.body)) {
      if (data.error) throw new Error(data.error.message);
      const piece = data.choices.length ? data.choices[0].delta.content : "";
      if (piece && !shown) this.startWriting();
      shown += piece || "";
      this.find(".summary").textContent = shown;
      finished = data.sumkit || finished;
    }
    if (!finished) throw new Error("the connection broke off");
    this.text = shown;
    this.finish(finished);
  }

  startWriting() {
    this.state("writing");
    this.element.classList.add("writing");
  }

  async ask(signal) {
    this.long = get("long").value;
    const wish = {
      model: this.model, stream: true, messages: [{ role: "user", content: this.document }],
      long: this.long, sentences: Number(get("sentences").value),
    };
    for (let attempt = 0; ; attempt += 1) {
      this.state("waiting for the model");
      const answer = await postJson("v1/chat/completions", wish, signal);
      if (answer.status !== 503 || attempt === MOST_RETRIES) return answer;
      const seconds = Number(answer.headers.get("Retry-After")) || 2;
      for (let left = seconds; left > 0; left -= 1) {
        this.state(`the server is busy, trying again in ${left} s`);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        if (signal.aborted) throw new Error("stopped");
      }
    }
  }

  finish(told) {
    this.state(told.stop_reason === "length" ? "cut at the length limit" : "");
    this.markUnsupported(told.unsupported);
    const notes = [];
    if (told.unread_tokens) notes.push(`${told.unread_tokens.toLocaleString("en")} tokens of the document were not read.`);
    if (told.error) notes.push(told.error);
    this.find(".notes").textContent = notes.join(" ");
    this.find(".notes").hidden = !notes.length;
    this.showParts(told.parts);
    const waited = told.waited_seconds;
    const words = this.text.split(/\s+/).filter(Boolean).length;
    const times = [`first word after ${seconds(told.first_seconds - waited)}`, `done in ${seconds(told.seconds - waited)}`];
    if (waited >= 0.1) times.push(`waited ${seconds(waited)}`);
    times.push(`${words} ${words === 1 ? "word" : "words"}`);
    this.find(".times").textContent = times.join(" · ");
    this.find(".actions").hidden = !this.text;
    if (!this.text) this.state("the model wrote nothing", true);
  }

  markUnsupported(claims) {
    const characters = Array.from(this.text); // offsets count characters, JavaScript's own strings count halves of some
    const nodes = [];
    let at = 0;
    for (const claim of claims) {
      const mark = document.createElement("mark");
      mark.textContent = characters.slice(claim.start, claim.end).join("");
      mark.title = `This ${claim.kind} is not in the document.`;
      nodes.push(characters.slice(at, claim.start).join(""), mark);
      at = claim.end;
    }
    this.find(".summary").replaceChildren(...nodes, characters.slice(at).join(""));
    this.find(".flags").hidden = !claims.length;
    const listed = claims.map((claim) => `${claim.text} (${claim.kind})`).join(", ");
    this.find(".flags").textContent = `Not in the document: ${listed}`;
  }

  showParts(parts) {
    this.find(".parts").hidden = !parts.length;
    this.find(".parts summary").textContent =
      this.long === "two-stage" ? `From ${parts.length} key sentences` : `From summaries of ${parts.length} parts`;
    this.find(".parts ol").replaceChildren(...parts.map((part) => {
      const item = document.createElement("li");
      item.textContent = part;
      return item;
    }));
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text);
      this.say("Copied.");
    } catch { // not allowed here: select it, so that one key press copies it
      getSelection().selectAllChildren(this.find(".summary"));
      this.say("Selected; press Ctrl-C to copy.");
    }
  }

  async rate(value) {
    const button = this.find(value > 0 ? ".good" : ".bad");
    const rating = button.getAttribute("aria-pressed") === "true" ? 0 : value;
    const problem = await keep({ kind: "rating", document: this.document, summary: this.text, model: this.model, rating });
    if (!problem) {
      this.find(".good").setAttribute("aria-pressed", String(rating > 0));
      this.find(".bad").setAttribute("aria-pressed", String(rating < 0));
    }
    this.say(problem || (rating ? "Kept." : "Taken back."));
  }

  startCorrection() {
    this.find(".correction").hidden = false;
    const field = this.find(".correction textarea");
    field.value = this.text;
    field.focus();
    field.setSelectionRange(0, 0);
  }

  endCorrection() {
    this.find(".correction").hidden = true;
    this.find(".correct").focus();
  }

  async keepCorrection() {
    const chosen = this.find(".correction textarea").value.trim();
    if (!chosen || chosen === this.text) return this.say("Change the text first.");
    const problem = await keep({
      kind: "choice", document: this.document, chosen, rejected: this.text, chosen_by: "person", rejected_by: this.model,
    });
    if (!problem) this.endCorrection();
    this.say(problem || "Your version is kept.");
  }

  say(text) {
    this.find(".said").textContent = text;
  }
}

function seconds(value) {
  return `${Math.max(0, value).toFixed(value < 10 ? 1 : 0)} s`;
}

// The JSON values of server-sent events, until [DONE].
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data === "[DONE]") return;
      if (block.startsWith("data: ")) yield JSON.parse(data);
    }
  }
}

connect();
showSize();
