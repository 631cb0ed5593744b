// Adds to pages that work without it: the sum of the shares while they are entered, answers that stream, rating by keys.
"use strict";

function followShares(sum) {
  const shares = [...document.querySelectorAll("input.share")];
  const add = () => {
    const total = shares.reduce((whole, field) => whole + (Number(field.value) || 0), 0);
    sum.textContent = Math.round(100 * total) / 100;
    sum.classList.toggle("alarm", Math.abs(total - 100) > 0.1);
  };
  for (const field of shares) field.addEventListener("input", add);
  add();
}

function made(tag, parent, text = "", name = "") {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  if (name) element.className = name;
  return element;
}

// Yields the events of a stream of server-sent events, parsed.
async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
    }
  }
}

// Streams one variant's answer into its tile. Gives the words of the answer.
async function streamInto(tile, fields, signal) {
  const began = performance.now();
  const seconds = () => ((performance.now() - began) / 1000).toFixed(2);
  const response = await fetch("/try/stream", { method: "POST", body: fields, signal });
  if (!response.ok || !response.headers.get("content-type").startsWith("text/event-stream")) {
    const document = await response.json().catch(() => null);
    tile.answer.textContent = document?.error?.message ?? `The server answered ${response.status}.`;
    tile.answer.classList.add("alarm");
    return [];
  }
  let first = "", tokens = 0;
  for await (const event of eventsOf(response)) {
    const text = event.choices?.[0]?.delta?.content;
    if (text) {
      first ||= seconds();
      tile.answer.append(text);
    }
    tokens = event.usage?.completion_tokens ?? tokens;
    tile.figures.textContent = `${seconds()} s, first token after ${first || "?"} s, ${tokens || "?"} tokens`;
  }
  return tile.answer.textContent.split(" ");
}

// Marks the words that are not in the longest common subsequence with the first answer.
function mark(tile, words, first) {
  const longest = Array.from({ length: words.length + 1 }, () => new Uint16Array(first.length + 1));
  for (let i = words.length - 1; i >= 0; i--) {
    for (let j = first.length - 1; j >= 0; j--) {
      longest[i][j] = words[i] === first[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  tile.answer.textContent = "";
  for (let i = 0, j = 0; i < words.length; i++) {
    while (j < first.length && words[i] !== first[j] && longest[i][j + 1] >= longest[i + 1][j]) j++;
    if (j < first.length && words[i] === first[j]) {
      tile.answer.append(words[i], " ");
      j++;
    } else {
      made("mark", tile.answer, words[i]);
      tile.answer.append(" ");
    }
  }
}

let running = null;

async function askAll(form) {
  running?.abort();
  const { signal } = (running = new AbortController());
  const answers = document.getElementById("answers"), progress = document.getElementById("progress");
  const variants = form.model.selectedOptions[0].dataset.variants.split(" ");
  answers.textContent = "";
  made("h2", answers, "Answers");
  made("p", answers, "Marked words differ from the first answer. All variants are asked at once and slow each other down.", "quiet");
  const tiles = made("div", answers, "", "tiles");
  progress.textContent = "The answers are on their way.";
  const all = variants.map((variant, index) => {
    const tile = made("section", tiles, "", "tile"), heading = made("h3", tile);
    made("span", heading, "", `swatch swatch-${index % form.dataset.colours}`);
    heading.append(`${variant} `);
    const figures = made("small", heading), answer = made("p", tile, "", "answer");
    const fields = new URLSearchParams([...new FormData(form), ["variant", variant]]);
    return { tile: { figures, answer }, words: streamInto({ figures, answer }, fields, signal) };
  });
  const words = await Promise.all(all.map((each) => each.words));
  const first = words.find((each) => each.length) ?? [];
  all.forEach(({ tile }, index) => words[index].length && mark(tile, words[index], first));
  progress.textContent = "All answers are complete.";
}

const sum = document.getElementById("sum"), prompts = document.getElementById("prompts");
if (sum) followShares(sum);
prompts?.addEventListener("submit", (event) => {
  event.preventDefault();
  askAll(prompts).catch((error) => {
    if (error.name !== "AbortError") document.getElementById("progress").textContent = `The answers stopped: ${error.message}`;
  });
});

const RATINGS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", 3: "tie", 4: "skip" };
if (document.getElementById("rating")) {
  let sent = false;
  document.addEventListener("keydown", (event) => {
    const name = RATINGS[event.key], isPlain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey);
    // the arrow keys scroll a focused prompt
    if (!name || !isPlain || event.repeat || sent || event.target.closest("input, textarea, select, pre")) return;
    event.preventDefault();
    sent = true;
    document.getElementById(name).click();
  });
}
