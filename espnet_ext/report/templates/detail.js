// The chosen utterance: its recording, and all texts aligned, one grid per output.

const EXPLANATIONS = { surface: "what was pronounced", meaning: "what was intended" };

/** Return a new element with a class, text and attributes. */
function make(name, className = "", text = "", attributes = {}) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** Show an utterance in a container; return its audio element, or null. */
function showUtterance(container, group, row) {
  container.querySelector("audio")?.pause();
  const main = group.texts.meaning?.[row] ?? group.texts.surface?.[row] ?? group.id[row];
  const l1 = group.l1Of(row);
  const distance = group.distance[row];
  const facts = [
    group.id[row],
    group.speakerOf(row),
    l1 && `first language ${l1}`,
    distance !== null && `divergence ${distance}`,
  ];
  container.replaceChildren(
    make("h3", "meant", main || "(silence)", { lang: main ? group.lang : "en" }),
    make("p", "facts", facts.filter(Boolean).join("; ")),
  );
  const audio = makeAudio(container, group, row);
  const width = container.clientWidth - 2 * parseFloat(getComputedStyle(container).paddingLeft);
  const tracks = group.outputs
    .map((output) => makeGrid(container, group, row, output, width))
    .filter(Boolean);
  if (audio && tracks.length) {
    const follower = new Follower(audio);
    follower.follow(tracks);
    tracks.forEach((track) => seekOnClick(track, follower));
    container.append(explainMarks(tracks));
  }
  return audio;
}

/** Return a paragraph about how the place of the marked columns is known. */
function explainMarks(tracks) {
  const names = (some) => some.map((track) => track.output).join(", ");
  const timed = tracks.filter((track) => track.starts);
  const estimated = tracks.filter((track) => !track.starts);
  const note = make("p", "facts");
  if (timed.length) note.append(`Marked by the token times of the decoding: ${names(timed)}. `);
  if (estimated.length) {
    note.append(
      `Marked by estimate, evenly over the recording: ${names(estimated)}. Token times come from `,
      make("code", "", "decode --times true"),
      ".",
    );
  }
  return note;
}

function makeAudio(container, group, row) {
  const source = group.audio[row];
  if (!source) {
    const reason = "The page has no recording of this utterance: it cannot be read, or it is in no " +
      "file that a browser plays. A larger --audio_mb embeds recordings from all kinds of files.";
    container.append(make("p", "facts", reason));
    return null;
  }
  const embedded = source.startsWith("#") ? document.getElementById(source.slice(1))?.src : source;
  const audio = make("audio", "", "", {
    controls: "", preload: "auto", src: embedded ?? "", "aria-label": `utterance ${group.id[row]}`,
  });
  const problem = make("p", "problem", "", { role: "status" });
  audio.addEventListener("error", () => {
    problem.textContent = source.startsWith("./")
      ? `The recording is not where this page expects it: ${decodeURIComponent(source)}`
      : "The browser cannot play this recording.";
  });
  container.append(audio, problem);
  return audio;
}

/** Append the aligned texts of an output; return its track for the Follower, or null. */
function makeGrid(container, group, row, output, width) {
  const reference = group.reference(output, row);
  const systems = group.systemsWith(output);
  const known = systems.filter((system) => group.hypotheses[system][output].text[row] !== null);
  if (reference === null && !known.length) return null;
  const heading = make("h4", "", output);
  if (output in EXPLANATIONS) heading.append(make("span", "note", ` ${EXPLANATIONS[output]}`));
  container.append(heading);
  if (reference === null) {
    container.append(make("p", "facts", `There is no ${output} reference.`));
    known.forEach((system) => appendUnaligned(container, group, row, output, system));
    return null;
  }
  const separated = group.separated[output];
  const centre = tokensOf(reference, separated);
  const lines = output === "surface" ? labelLines(group, row, centre) : [];
  const labels = lines.length;
  const unaligned = [];
  for (const system of known) {
    const list = editsOf(group, system, output, row);
    const { starts, text } = group.hypotheses[system][output];
    if (!list.length && (centre.length || text[row])) unaligned.push(system);
    else lines.push({ name: system, list, starts: starts?.[row], errors: countErrors(list) });
  }
  const aligned = alignRows(centre, lines.map((line) => line.list));
  lines.forEach((line, number) => (line.cells = aligned.rows[number]));
  const referenceLine = { name: "reference", cells: aligned.centre, isReference: true };
  const shown = [...lines.slice(0, labels), referenceLine, ...lines.slice(labels)];
  const columns = drawGrid(container, group, shown, width, output);
  unaligned.forEach((system) => appendUnaligned(container, group, row, output, system));
  const timed = lines.find((line) => line.starts);
  return { output, columns, starts: timed ? columnStarts(timed.cells, timed.starts) : null };
}

/** Return the canonical form and the meaning where they are aligned with the surface. */
function labelLines(group, row, surface) {
  return ["meaning", "canonical"].flatMap((kind) => {
    const columns = group.labels[`${kind}-surface`]?.[row];
    if (columns === undefined || columns === null) return [];
    const text = tokensOf(group.texts[kind][row], group.phones);
    const list = exchanged(edits(text, surface, columns));
    return list.length ? [{ name: kind, list, isLabel: true }] : [];
  });
}

function countErrors(list) {
  return list.filter((edit) => edit.kind !== "=").length;
}

function appendUnaligned(container, group, row, output, system) {
  const text = group.hypotheses[system][output].text[row];
  const line = make("p", "unaligned", "");
  line.append(make("span", "facts", `${system} (not aligned) `));
  line.append(make("span", "", text || "(nothing)", { lang: text ? group.lang : "en" }));
  container.append(line);
}

/** Append tables that are as wide as the container; return the cells of each column. */
function drawGrid(container, group, lines, width, output) {
  const count = lines[0].cells.length;
  const columns = Array.from({ length: count }, () => []);
  const measure = textMeasure(container);
  const names = lines.map((line) => measure(`${line.name} ${line.errors ?? ""}`));
  const label = Math.min(Math.max(...names) + 12, width * 0.4); // pixels, padding included
  const widths = columns.map((_, c) => Math.max(13, ...lines.map((l) => measure(l.cells[c].text))) + 9);
  let start = 0;
  do {
    let end = start, used = label;
    while (end < count && (end === start || used + widths[end] <= width)) used += widths[end++];
    container.append(drawBlock(group, lines, start, end, columns, label, output));
    start = end;
  } while (start < count);
  return columns;
}

function drawBlock(group, lines, start, end, columns, label, output) {
  const table = make("table", "aligned", "", { "aria-label": `${output}, aligned` });
  for (const line of lines) {
    const tr = make("tr", line.isReference ? "reference" : line.isLabel ? "label" : "");
    const th = make("th", "", line.name, { scope: "row" });
    th.style.minWidth = th.style.maxWidth = `${label}px`;
    th.title = line.name;
    if (line.errors >= 0) th.append(make("span", "errors", ` ${line.errors}`));
    tr.append(th);
    for (let column = start; column < end; column++) {
      const td = drawCell(line.cells[column], line, group.lang);
      columns[column].push(td);
      tr.append(td);
    }
    table.append(tr);
  }
  const box = make("div", "aligned-box");
  box.append(table);
  return box;
}

function drawCell({ kind, text }, line, lang) {
  const wrong = kind !== "" && kind !== "=";
  const td = make("td", wrong ? kind : "", text === " " && wrong ? "␣" : text);
  if (kind === "d") td.textContent = NOTHING;
  else if (text) td.lang = lang;
  if (wrong && !line.isLabel) {
    const names = { s: "substitution", d: "deletion", i: "insertion" };
    td.title = names[kind];
  }
  return td;
}

/** Return a function that measures the width of a text in a grid in pixels. */
function textMeasure(container) {
  const context = document.createElement("canvas").getContext("2d");
  const { fontSize, fontFamily } = getComputedStyle(container);
  context.font = `600 ${0.92 * parseFloat(fontSize)}px ${fontFamily}`;
  return (text) => Math.ceil(context.measureText(text).width);
}

function seekOnClick(track, follower) {
  track.columns.forEach((cells, column) => {
    for (const cell of cells) {
      cell.addEventListener("click", () => {
        follower.audio.currentTime = follower.startOf(track, column) + 0.001;
      });
    }
  });
}
