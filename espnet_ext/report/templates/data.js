// The utterances of the page: columns per test set, and counts derived from the alignments.

const SUBSTITUTION = 1, DELETION = 2, INSERTION = 4, SCORED = 8, EMPTY = 16;
const NOTHING = "∅";

/** Return one Group per test set from the page's data block (gzipped JSON in base64). */
async function readGroups() {
  const element = document.getElementById("utterance-data");
  const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  element.remove(); // the page keeps one copy
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { groups } = await new Response(unpacked).json();
  const all = groups.map((columns) => new Group(columns));
  return all.filter((group) => group.size && group.outputs.length);
}

/** The utterances of one test set, by row number. */
class Group {
  constructor(columns) {
    Object.assign(this, columns); // see browser_data.py
    this.size = this.id.length;
    this.counted = new Map();
    this.searchable = [];
    this.confused = new Map();
  }

  /** The outputs that a system has hypotheses of and that can be aligned. */
  get outputs() {
    const all = this.systems.flatMap((system) => Object.keys(this.hypotheses[system]));
    return [...new Set(all)].filter((output) => output in this.separated);
  }

  systemsWith(output) {
    return this.systems.filter((system) => output in this.hypotheses[system]);
  }

  /** The system that is chosen at first: the last one that is not a baseline. */
  firstChoice(output) {
    const systems = this.systemsWith(output);
    return systems.filter((system) => !this.baselines.includes(system)).at(-1) ?? systems.at(-1);
  }

  speakerOf(row) {
    return this.speaker.values[this.speaker.index[row]];
  }

  l1Of(row) {
    return this.l1.values[this.l1.index[row]];
  }

  reference(output, row) {
    return this.texts[output]?.[row] ?? null;
  }

  /** Return errors, reference tokens and flags of every utterance, counted once. */
  counts(system, output) {
    const key = `${system}\n${output}`;
    if (!this.counted.has(key)) this.counted.set(key, this.#count(system, output));
    return this.counted.get(key);
  }

  #count(system, output) {
    const errors = new Uint32Array(this.size);
    const tokens = new Uint32Array(this.size);
    const flags = new Uint8Array(this.size);
    const { text, columns } = this.hypotheses[system][output];
    for (let row = 0; row < this.size; row++) {
      const reference = this.reference(output, row);
      if (text[row] === null || reference === null) continue;
      if (!columns[row] && (text[row] || reference)) continue; // it was not aligned
      let flag = SCORED | (text[row] ? 0 : EMPTY);
      let insertions = 0;
      for (const kind of columns[row]) {
        if (kind === "=") continue;
        errors[row]++;
        if (kind === "s") flag |= SUBSTITUTION;
        else if (kind === "d") flag |= DELETION;
        else (flag |= INSERTION), insertions++;
      }
      flags[row] = flag;
      tokens[row] = columns[row].length - insertions;
    }
    return { errors, tokens, flags };
  }

  /** Return everything that a search looks at, in lower case. */
  searchText(row) {
    if (this.searchable[row] === undefined) {
      const parts = [this.id[row], this.speakerOf(row), this.l1Of(row)];
      for (const texts of Object.values(this.texts)) parts.push(texts[row]);
      for (const outputs of Object.values(this.hypotheses))
        for (const { text } of Object.values(outputs)) parts.push(text[row]);
      this.searchable[row] = searchForm(parts.filter(Boolean).join("\n"));
    }
    return this.searchable[row];
  }

  /** Return the confusions of a hypothesis as lines "reference→recognised", in lower case. */
  confusions(system, output, row) {
    const key = `${system}\n${output}`;
    if (!this.confused.has(key)) this.confused.set(key, []);
    const known = this.confused.get(key);
    if (known[row] === undefined) {
      const lines = editsOf(this, system, output, row)
        .filter((edit) => edit.kind !== "=")
        .map((edit) => `${edit.reference || NOTHING}→${edit.hypothesis || NOTHING}`);
      known[row] = searchForm(`\n${lines.join("\n")}\n`);
    }
    return known[row];
  }
}

function searchForm(text) {
  return text.normalize("NFC").toLowerCase();
}
