/** The page: record or choose a file, send it, show the answer. */

import { showAnswer } from "/static/answer.js";
import { Player } from "/static/player.js";
import { Recorder, whyNoRecording } from "/static/recorder.js";
import { Timeline } from "/static/timeline.js";
import { encodeWav, toMono } from "/static/wav.js";

const $ = (id) => document.getElementById(id);
const LANGUAGES = { en: "English", ko: "Korean" };

let info = { max_seconds: 30, max_bytes: 10e6, needs_prompt: false };
let recorder = null;
let isStarting = false;
let current = null; // {file, name, samples, rate}: the recording that is shown
let sending = null; // AbortController

const player = new Player((seconds) => timeline.moveCursor(seconds));
const timeline = new Timeline((start, end) => player.play(start, end));

function setStatus(text) {
  $("status").textContent = text;
}

/** Return a message of the server as a sentence. */
function sentence(text) {
  const end = /[.!?]$/.test(text) ? "" : ".";
  return text ? text[0].toUpperCase() + text.slice(1) + end : "";
}

function showProblem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
  if (text) setStatus("");
}

async function loadInfo() {
  const response = await fetch("/api/info");
  info = await response.json();
  const name = info.model.split("/").filter(Boolean).slice(-3).join("/");
  const language = LANGUAGES[info.language] ?? info.language;
  const calibrated = info.calibrated ? "" : ", uncalibrated: probabilities are too high";
  $("model").textContent = `${language}, model ${name}${calibrated}`;
  $("prompt").lang = info.language;
  $("prompt").maxLength = info.max_prompt_characters;
  if (info.needs_prompt) {
    $("prompt-hint").textContent = "(needed by this model)";
    $("prompt-help").hidden = true;
  }
  $("record-state").textContent = `up to ${info.max_seconds} s`;
}

async function startRecording() {
  showProblem("");
  player.stop();
  const starting = new Recorder(info.max_seconds, showLevel, stopRecording);
  isStarting = true; // a disabled button would lose the keyboard focus
  try {
    await starting.start();
  } catch (error) {
    const reason = error.name === "NotAllowedError" ? "It was not allowed." : error.message;
    showProblem(`The microphone cannot be used. ${reason}\nAllow it in the browser, or choose a file.`);
    return;
  } finally {
    isStarting = false;
  }
  recorder = starting;
  $("record").classList.add("recording");
  $("record-label").textContent = "Stop";
  $("level").hidden = false;
  setStatus("Recording.");
}

function showLevel(seconds, level) {
  $("record-state").textContent = `${seconds.toFixed(1)} s of ${info.max_seconds} s`;
  $("level-bar").style.width = `${Math.round(100 * Math.min(1, Math.sqrt(level)))}%`;
}

function stopRecording() {
  if (!recorder) return;
  const { samples, rate } = recorder.stop();
  recorder = null;
  $("record").classList.remove("recording");
  $("record-label").textContent = "Record";
  $("level").hidden = true;
  $("record-state").textContent = `up to ${info.max_seconds} s`;
  if (!samples.length) {
    showProblem("Nothing was recorded. Speak after the button says Stop.");
    return;
  }
  send({ file: encodeWav(samples, rate), name: "recording", samples, rate });
}

async function chooseFile(file) {
  showProblem("");
  player.stop();
  const recording = { file, name: file.name, samples: null, rate: null };
  if (file.size <= 20 * info.max_bytes) {
    try {
      const context = new OfflineAudioContext(1, 1, 48000);
      const audio = await context.decodeAudioData(await file.arrayBuffer());
      Object.assign(recording, { samples: toMono(audio), rate: audio.sampleRate });
    } catch {
      // The server may read formats that the browser does not.
    }
  }
  send(recording);
}

/** Send a recording to the server; return the answer, or show why there is none. */
async function request(file, name) {
  if (file.size > info.max_bytes) {
    const limit = (info.max_bytes / 1e6).toFixed(1);
    return { error: { code: "too_large", message: `The file has more than ${limit} MB`, remedy: "choose a shorter recording" } };
  }
  const parameters = new URLSearchParams({ name });
  const prompt = $("prompt").value.trim();
  if (prompt) parameters.set("prompt", prompt);
  const response = await fetch(`/api/judge?${parameters}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream" },
    body: file,
    signal: sending.signal,
  });
  try {
    return await response.json();
  } catch {
    const message = `The server answered with status ${response.status}`;
    return { error: { code: "status", message, remedy: "try again" } };
  }
}

async function send(recording) {
  sending?.abort();
  const controller = new AbortController();
  sending = controller;
  current = recording;
  showProblem("");
  setStatus("Judging the recording …");
  $("answer").setAttribute("aria-busy", "true");
  try {
    const name = recording.name.slice(0, 200);
    let answer = await request(recording.file, name);
    if (["not_audio", "unusual_audio", "too_large"].includes(answer.error?.code) && recording.samples && !recording.isEncoded) {
      // The browser reads it (M4A, WebM), the server does not: send it as WAV.
      const limit = Math.ceil((info.max_seconds + 1) * recording.rate);
      recording.file = encodeWav(recording.samples.subarray(0, limit), recording.rate);
      recording.isEncoded = true;
      answer = await request(recording.file, name);
    }
    if (answer.error) {
      const { message, remedy } = answer.error;
      showProblem(`${sentence(message)}\n${sentence(remedy)}`);
      $("answer").hidden = true;
    } else {
      show(answer, recording);
    }
    $("again").hidden = false;
  } catch (error) {
    if (error.name === "AbortError") return;
    showProblem(`The server did not answer (${error.message}).\nCheck that it still runs, and try again.`);
  } finally {
    if (sending === controller) $("answer").removeAttribute("aria-busy");
  }
}

function show(judgement, recording) {
  const canPlay = recording.samples !== null;
  if (canPlay) player.load(recording.samples, recording.rate);
  const text = showAnswer(judgement, canPlay ? (start, end) => player.play(start, end) : null);
  $("timeline").hidden = !canPlay;
  if (canPlay) timeline.show(judgement, recording.samples, recording.rate);
  setStatus(canPlay ? text : `${text} This browser cannot play the file.`);
  $("status").classList.toggle("visually-hidden", canPlay);
  $("answer").scrollIntoView({ block: "nearest" });
}

$("record").addEventListener("click", () => {
  if (recorder) stopRecording();
  else if (!isStarting) startRecording();
});
$("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = ""; // so that the same file can be chosen again
  if (file) chooseFile(file);
});
$("again").addEventListener("click", () => current && send(current));
$("play").addEventListener("click", () => player.play());
$("play-slow").addEventListener("click", () => player.play(0, undefined, 0.6));
$("form").addEventListener("submit", (event) => event.preventDefault());

const obstacle = whyNoRecording();
if (obstacle) {
  $("record").disabled = true;
  showProblem(obstacle);
}
loadInfo().catch(() => showProblem("The server does not answer.\nStart it again, and reload the page."));
