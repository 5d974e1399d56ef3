/** The waveform of a recording with words, sounds and deviations at their times. */

const LABEL_GAP = 3; // pixels
const MIN_SCALE = 60; // pixels per second
const MAX_SCALE = 220;
const MISSING_SECONDS = 0.08; // the longest mark of a missing sound

const $ = (id) => document.getElementById(id);

export class Timeline {
  /** @param {(start: number, end: number) => void} onChoose a part in seconds is to be played */
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.words = [];
    $("wave").addEventListener("click", (event) => this.playAt(event.offsetX));
    for (const id of ["lane-words", "lane-deviations"]) {
      $(id).addEventListener("keydown", moveFocus);
    }
    new ResizeObserver(() => this.draw()).observe($("scroll"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show a judgement over its recording. */
  show(judgement, samples, rate) {
    this.samples = samples;
    this.seconds = samples.length / rate;
    this.words = judgement.words.filter((word) => word.start !== null);
    this.deviations = [
      ...judgement.deviations.map((deviation) => ({ ...deviation, certain: true })),
      ...judgement.uncertain.map((deviation) => ({ ...deviation, certain: false })),
    ].filter((deviation) => deviation.start !== null);
    const marked = new Set(judgement.deviations.map((deviation) => deviation.word_index));
    $("lane-words").replaceChildren(
      ...judgement.words.flatMap((word, i) => (word.start === null ? [] : [wordButton(word, marked.has(i), this)]))
    );
    $("lane-words").lang = judgement.language;
    const labels = this.words.flatMap((word) => word.units.flatMap((unit) => this.unitLabel(unit)));
    $("lane-units").replaceChildren(...labels);
    $("lane-deviations").replaceChildren(
      ...this.deviations.map((one) => deviationButton(one, judgement.words[one.word_index], this))
    );
    for (const id of ["lane-words", "lane-deviations"]) {
      [...$(id).children].forEach((child, i) => { child.tabIndex = i ? -1 : 0; });
    }
    this.draw();
  }

  unitLabel({ start, end, expected, recognised }) {
    if (start === null) return [];
    const label = document.createElement("span");
    label.textContent = recognised;
    Object.assign(label, { start, end });
    if (expected !== recognised) {
      const deviation = this.deviations.find((one) => one.start <= start && end <= one.end);
      label.className = deviation && !deviation.certain ? "uncertain" : "deviant";
    }
    return [label];
  }

  draw() {
    if (!this.samples || $("timeline").hidden) return;
    const labels = [...$("lane-units").children];
    const needed = labels.map((label) => (label.offsetWidth + LABEL_GAP) / Math.max(0.02, label.end - label.start));
    const median = needed.sort((a, b) => a - b)[needed.length >> 1] ?? 0;
    const wanted = Math.max(MIN_SCALE, Math.min(MAX_SCALE, median));
    this.scale = Math.max($("scroll").clientWidth / this.seconds, wanted);
    const width = Math.floor(this.scale * this.seconds);
    $("track").style.width = `${width}px`;
    for (const id of ["lane-words", "lane-units", "lane-deviations"]) place($(id), this.scale, width);
    this.drawWave(width);
  }

  drawWave(width) {
    const canvas = $("wave");
    const ratio = Math.min(window.devicePixelRatio || 1, 8000 / width);
    const height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const paint = canvas.getContext("2d");
    paint.scale(ratio, ratio);
    const colour = (name) => resolved(canvas, name);
    paint.fillStyle = colour("--band");
    this.words.forEach(({ start, end }) => {
      paint.fillRect(start * this.scale, 0, (end - start) * this.scale, height);
    });
    this.deviations.forEach(({ start, end, recognised, certain }) => {
      const longest = recognised ? Infinity : MISSING_SECONDS;
      const size = Math.max(3, Math.min(end - start, longest) * this.scale);
      paint.fillStyle = colour(certain ? "--deviation-fill" : "--uncertain-fill");
      paint.fillRect(start * this.scale, 0, size, height);
      paint.fillStyle = colour(certain ? "--deviation" : "--uncertain");
      paint.fillRect(start * this.scale, height - 4, size, 4);
    });
    const peak = this.samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0.02);
    const step = this.samples.length / width;
    paint.fillStyle = colour("--wave");
    for (let x = 0; x < width; x += 1) {
      let low = 0;
      let high = 0;
      for (let i = Math.floor(x * step); i < (x + 1) * step && i < this.samples.length; i += 1) {
        low = Math.min(low, this.samples[i]);
        high = Math.max(high, this.samples[i]);
      }
      const top = (1 - high / peak) * 0.5 * (height - 12) + 4;
      const bottom = (1 - low / peak) * 0.5 * (height - 12) + 4;
      paint.fillRect(x, top, 1, Math.max(1, bottom - top));
    }
  }

  /** Show where the recording plays; null: nowhere. */
  moveCursor(seconds) {
    $("cursor").hidden = seconds === null;
    if (seconds !== null) $("cursor").style.left = `${seconds * this.scale}px`;
    for (const button of $("lane-words").children) {
      const sounds = seconds !== null && button.start <= seconds && seconds < button.end;
      if (sounds) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  /** Play the word at a position of the waveform, or what follows the position. */
  playAt(x) {
    const seconds = x / this.scale;
    const word = this.words.find(({ start, end }) => start <= seconds && seconds < end);
    this.onChoose(word?.start ?? seconds, word?.end ?? this.seconds);
  }
}

/** Return the value of a colour variable, which canvases cannot read. */
function resolved(element, name) {
  element.style.color = `var(${name})`;
  const { color } = getComputedStyle(element);
  element.style.color = "";
  return color;
}

function wordButton(word, isDeviant, timeline) {
  const button = part(word, word.word, timeline);
  button.classList.toggle("deviant", isDeviant);
  const same = word.expected === word.recognised;
  const sounds = same ? word.recognised : `${word.recognised} instead of ${word.expected}`;
  button.setAttribute("aria-label", `${word.word}, ${seconds(word)}, ${sounds}. Play.`);
  button.title = `${word.expected} → ${word.recognised || "–"}`;
  return button;
}

/** Return the part of the recording in which a deviation is heard: its word, if it has a time. */
export function audible(deviation, word) {
  return word && word.start !== null ? word : deviation;
}

function deviationButton(deviation, word, timeline) {
  const text = `${deviation.expected || "+"} → ${deviation.recognised || "–"}`;
  const { start, end } = audible(deviation, word);
  const button = part(deviation, text, timeline, () => timeline.onChoose(start, end));
  button.classList.toggle("uncertain", !deviation.certain);
  const kind = deviation.certain ? "" : "uncertain: ";
  button.setAttribute("aria-label", `${kind}${deviation.text}, ${seconds(deviation)}. Play.`);
  button.title = kind + deviation.text;
  return button;
}

function part({ start, end }, text, timeline, play = () => timeline.onChoose(start, end)) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  Object.assign(button, { start, end });
  button.addEventListener("click", play);
  return button;
}

export function seconds({ start, end }) {
  return `${start.toFixed(2)} to ${end.toFixed(2)} seconds`;
}

/** Place the labels of a lane at their times, in as many rows as they need. */
function place(lane, scale, width) {
  const ends = []; // of each row, in pixels
  const labels = [...lane.children].sort((a, b) => a.start - b.start);
  let height = 0;
  const sizes = labels.map((label) => [label.offsetWidth, label.offsetHeight]);
  labels.forEach((label, i) => {
    const [labelWidth, labelHeight] = sizes[i];
    const left = Math.max(0, Math.min(label.start * scale, width - labelWidth));
    let row = ends.findIndex((end) => end <= left);
    if (row < 0) row = ends.push(0) - 1;
    ends[row] = left + labelWidth + LABEL_GAP;
    label.style.left = `${left}px`;
    label.style.top = `${4 + row * (labelHeight + LABEL_GAP)}px`;
    height = Math.max(height, 4 + (row + 1) * (labelHeight + LABEL_GAP));
  });
  lane.style.height = `${height}px`;
}

/** Move between the buttons of a lane by the arrow keys, Home and End. */
function moveFocus(event) {
  const buttons = [...event.currentTarget.children].sort((a, b) => a.start - b.start);
  const index = buttons.indexOf(document.activeElement);
  const targets = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: buttons.length - 1 };
  const target = buttons[targets[event.key]];
  if (index < 0 || !(event.key in targets)) return;
  event.preventDefault();
  if (!target) return;
  buttons[index].tabIndex = -1;
  target.tabIndex = 0;
  target.focus();
}
