/** Show a judgement: its summary, transcripts and lists of deviations. */

import { audible, seconds } from "/static/timeline.js";

const $ = (id) => document.getElementById(id);
const OUTPUTS = { surface: "Pronounced", meaning: "Understood" };

function element(tag, text = "", className = "") {
  const node = document.createElement(tag);
  node.textContent = text;
  node.className = className;
  return node;
}

/** Return the summary of a judgement in one sentence. */
function summary(judgement) {
  if (judgement.status === "not_judged") return `Not judged: ${judgement.message}.`;
  const count = judgement.deviations.length;
  const doubts = judgement.uncertain.length;
  const numbers = count === 1 ? "1 deviation" : `${count || "No"} deviations`;
  const uncertain = doubts ? `, and ${doubts} uncertain` : "";
  return `${numbers}${uncertain}, in ${judgement.seconds.toFixed(1)} s of audio.`;
}

/** Return the recognised sounds, with those of deviations marked. */
function pronounced(judgement) {
  const node = element("dd");
  if (!judgement.words.length) {
    node.textContent = judgement.transcripts.surface;
    return node;
  }
  const deviant = new Set(judgement.deviations.map((deviation) => deviation.word_index));
  judgement.words.forEach((word, i) => {
    const differs = deviant.has(i) && word.recognised !== word.expected;
    if (i) node.append(" ");
    node.append(element(differs ? "mark" : "span", word.recognised || "–", "word"));
  });
  return node;
}

/** Return the expected sounds, word by word. */
function expected(judgement) {
  const node = element("dd");
  judgement.words.forEach((word, i) => {
    if (i) node.append(" ");
    node.append(element("span", word.expected, "word"));
  });
  return node;
}

function transcripts(judgement) {
  const rows = [];
  const add = (name, value, lang) => {
    const node = value instanceof Node ? value : element("dd", value);
    if (lang) node.lang = judgement.language;
    rows.push(element("dt", name), node);
  };
  if (judgement.prompt !== null) add("Sentence", judgement.prompt, true);
  for (const [output, text] of Object.entries(judgement.transcripts)) {
    const value = output === "surface" ? pronounced(judgement) : text || "–";
    add(OUTPUTS[output] ?? output, value, output !== "surface" || judgement.language === "ko");
  }
  if (judgement.expected) add("Expected", expected(judgement), judgement.language === "ko");
  return rows;
}

function deviationItem(deviation, judgement, play) {
  const item = element("li");
  const name = element("span", deviation.text, "name");
  name.lang = judgement.language;
  item.append(name);
  if (deviation.gloss !== deviation.text) item.append(element("span", deviation.gloss, "facts"));
  const percent = Math.round(100 * deviation.probability);
  const kind = judgement.calibrated ? "probability" : "uncalibrated probability";
  item.append(element("span", `${kind} ${percent} %`, "facts"));
  if (play && deviation.start !== null) {
    const word = judgement.words[deviation.word_index];
    const button = element("button", "Play word");
    button.type = "button";
    const part = audible(deviation, word);
    button.setAttribute("aria-label", `Play ${deviation.word}, ${seconds(part)}`);
    button.addEventListener("click", () => play(part.start, part.end));
    item.append(button);
  }
  return item;
}

function deviationList(deviations, judgement, play) {
  const list = element("ul", "", "deviations");
  list.append(...deviations.map((deviation) => deviationItem(deviation, judgement, play)));
  return list;
}

function folded(title, content) {
  const details = element("details");
  details.append(element("summary", title), content);
  return details;
}

function variants(list, judgement) {
  const text = list.map((one) => `${one.word} [${one.pronounced}]`).join(", ");
  const node = element("p", text);
  node.lang = judgement.language;
  return node;
}

function details(judgement, play) {
  const nodes = [];
  if (judgement.deviations.length) {
    nodes.push(element("h3", "Deviations"), deviationList(judgement.deviations, judgement, play));
  }
  if (judgement.uncertain.length) {
    const list = deviationList(judgement.uncertain, judgement, play);
    const limit = Math.round(100 * judgement.threshold);
    nodes.push(folded(`Uncertain: probability below ${limit} % (${judgement.uncertain.length})`, list));
  }
  for (const [title, list] of [
    ["Accepted variants", judgement.accepted_variants],
    ["Regular phonology", judgement.regular_phonology],
  ]) {
    if (list.length) nodes.push(folded(`${title} (${list.length})`, variants(list, judgement)));
  }
  if (judgement.guessed_words.length) {
    const words = judgement.guessed_words.join(", ");
    nodes.push(element("p", `In no dictionary, so their pronunciation is guessed: ${words}`, "muted small"));
  }
  return nodes;
}

/**
 * Show a judgement.
 * @param {((start: number, end: number) => void) | null} play null if the audio cannot be played
 */
export function showAnswer(judgement, play) {
  $("answer").hidden = false;
  $("summary").textContent = summary(judgement);
  $("summary").className = judgement.status === "not_judged" ? "notice" : "";
  $("transcripts").replaceChildren(...transcripts(judgement));
  $("details").replaceChildren(...details(judgement, play));
  $("json").querySelector("pre").textContent = JSON.stringify(judgement, null, 1);
  return summary(judgement);
}
