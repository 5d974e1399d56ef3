// The utterance browser: filters above, the list on the left, the chosen utterance on the right.

class UtteranceBrowser {
  constructor(root, groups) {
    this.root = root;
    this.groups = groups;
    this.controls = Object.fromEntries(
      ["text", "group", "output", "system", "errors", "l1", "speaker", "distance", "sort"].map(
        (name) => [name, document.getElementById(`filter-${name}`)],
      ),
    );
    this.detail = document.getElementById("utterance-detail");
    this.box = document.getElementById("utterance-list");
    const choose = (row) => this.#show(row);
    this.list = new VirtualList(this.box, (element, row) => this.#fill(element, row), choose);
    this.audio = null; // of the utterance that is shown
    this.waiting = null; // the timer that will show another one
    this.#listen();
    options(this.controls.group, groups.map((group, n) => [n, groupName(group, groups)]));
    options(this.controls.errors, entries(ERROR_FILTERS));
    options(this.controls.distance, entries(DISTANCES));
    options(this.controls.sort, Object.entries(SORTS));
    root.hidden = false;
    this.#changeGroup();
    whenIdle(() => this.#prepareSearch(0, 0));
  }

  get group() {
    return this.groups[Number(this.controls.group.value)];
  }

  /** Return the values of the controls. */
  get chosen() {
    return Object.fromEntries(
      Object.entries(this.controls).map(([name, control]) => [name, control.value]),
    );
  }

  /** Show one utterance of a test set, without filters. */
  open(lang, set, id) {
    const number = this.groups.findIndex((group) => group.lang === lang && group.set === set);
    const row = number < 0 ? -1 : this.groups[number].id.indexOf(id);
    if (row < 0) return;
    this.#reset();
    if (Number(this.controls.group.value) !== number) {
      this.controls.group.value = number;
      this.#changeGroup();
    }
    this.list.choose(row);
    document.getElementById("utterances").scrollIntoView();
    this.box.focus({ preventScroll: true });
  }

  #listen() {
    const { text, group, output, ...others } = this.controls;
    text.addEventListener("input", () => this.#filter());
    group.addEventListener("change", () => this.#changeGroup());
    output.addEventListener("change", () => this.#changeOutput());
    for (const control of Object.values(others))
      control.addEventListener("change", () => this.#filter());
    const form = text.form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", (event) => {
      event.preventDefault(); // the browser would select other groups and systems
      this.#reset();
    });
    document.getElementById("filter-csv").addEventListener("click", () => this.#download());
    document.addEventListener("keydown", (event) => this.#onKey(event));
    let width = 0;
    new ResizeObserver(([entry]) => {
      const changed = Math.abs(entry.contentRect.width - width) > 1;
      width = entry.contentRect.width;
      if (changed && (!this.audio || this.audio.paused)) this.#draw(); // the lines break elsewhere
    }).observe(this.detail);
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea, audio, button, a, summary");
    if (event.key === "/" && !event.target.closest("input, select, textarea")) {
      event.preventDefault();
      this.controls.text.focus();
      this.controls.text.select();
    } else if (event.key === "Escape" && event.target === this.controls.text) {
      this.controls.text.value = "";
      this.#filter();
    } else if (["Enter", "ArrowDown"].includes(event.key) && event.target === this.controls.text) {
      event.preventDefault();
      this.box.focus();
    } else if (event.key === " " && !typing && this.root.contains(event.target)) {
      event.preventDefault();
      this.#play();
    }
  }

  #play() {
    if (this.waiting) this.#draw();
    if (!this.audio) return;
    if (this.audio.paused) this.audio.play().catch(() => {}); // its error event tells the reason
    else this.audio.pause();
  }

  #reset() {
    for (const name of ["text", "errors", "l1", "speaker", "distance", "sort"])
      this.controls[name].value = "";
    this.#filter();
  }

  #changeGroup() {
    const { group, controls } = this;
    options(controls.output, group.outputs.map((output) => [output, output]));
    options(controls.l1, [["", "all"], ...choices(group.l1)]);
    options(controls.speaker, [["", "all"], ...choices(group.speaker)]);
    controls.l1.disabled = group.l1.values.length < 2;
    this.#changeOutput();
  }

  #changeOutput() {
    const output = this.controls.output.value;
    const systems = this.group.systemsWith(output);
    const before = this.controls.system.value;
    options(this.controls.system, systems.map((system) => [system, system]));
    this.controls.system.value = systems.includes(before)
      ? before
      : this.group.firstChoice(output);
    this.#filter();
  }

  #filter() {
    const rows = chooseRows(this.group, this.chosen);
    const { system, output } = this.chosen;
    const counts = this.group.counts(system, output);
    let errors = 0, tokens = 0;
    for (const row of rows) {
      errors += counts.errors[row];
      tokens += counts.tokens[row];
    }
    const rate = tokens ? `; ${system}: ${((100 * errors) / tokens).toFixed(2)} % ${output} error` : "";
    const shown = `${number(rows.length)} of ${number(this.group.size)} utterances`;
    document.getElementById("browser-count").textContent = shown + rate;
    this.list.show(rows);
    if (!rows.length) this.#show(undefined);
  }

  #fill(element, row) {
    const { group } = this;
    const { system, output } = this.chosen;
    const { errors, tokens, flags } = group.counts(system, output);
    const main = group.texts.meaning?.[row] ?? group.texts.surface?.[row] ?? "";
    const about = [group.speakerOf(row), group.l1Of(row), group.id[row]].filter(Boolean).join(" · ");
    const scored = flags[row] & SCORED;
    const share = scored ? Math.min(1, errors[row] / Math.max(1, tokens[row])) : 0;
    const bar = make("span", "bar", "", { "aria-hidden": "true" });
    bar.style.setProperty("--share", share);
    element.append(
      make("span", "text", main || "(no text)", { lang: main ? group.lang : "en" }),
      make("span", "about", about),
      make("span", "errors", scored ? `${errors[row]} / ${tokens[row]}` : "–"),
      bar,
    );
  }

  /** Show an utterance soon; of several calls in a row only the last one has an effect. */
  #show(row) {
    if (row === this.shownRow && this.group === this.shownGroup) return;
    [this.shownRow, this.shownGroup] = [row, this.group];
    this.audio?.pause();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.#draw(), 0);
  }

  #draw() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const { shownGroup: group, shownRow: row } = this;
    if (row !== undefined) {
      this.audio = showUtterance(this.detail, group, row);
    } else {
      this.audio = null;
      this.detail.replaceChildren(make("p", "facts", "No utterance has all of this."));
    }
  }

  /** Download the shown utterances with all texts as CSV. */
  #download() {
    const { group } = this;
    const kinds = Object.keys(group.texts);
    const outputs = group.systems.flatMap((system) =>
      Object.keys(group.hypotheses[system]).map((output) => [system, output]),
    );
    const header = ["id", "speaker", "l1", "divergence", ...kinds];
    for (const [system, output] of outputs) header.push(`${output} by ${system}`, `errors of it`);
    const lines = this.list.rows.map((row) => {
      const cells = [group.id[row], group.speakerOf(row), group.l1Of(row), group.distance[row]];
      cells.push(...kinds.map((kind) => group.texts[kind][row]));
      for (const [system, output] of outputs) {
        const { errors, flags } = group.counts(system, output);
        const scored = flags[row] & SCORED;
        cells.push(group.hypotheses[system][output].text[row], scored ? errors[row] : "");
      }
      return cells;
    });
    saveCsv(`utterances ${group.lang} ${group.set}.csv`, [header, ...lines]);
  }

  /** Compute what searches look at while the page is idle, so that the first one is fast too. */
  #prepareSearch(number, row) {
    const end = performance.now() + 8;
    for (; number < this.groups.length; number++, row = 0) {
      const group = this.groups[number];
      const output = group.outputs[0];
      const system = group.firstChoice(output);
      for (; row < group.size; row++) {
        group.searchText(row);
        group.confusions(system, output, row);
        if (performance.now() > end) {
          whenIdle(() => this.#prepareSearch(number, row + 1));
          return;
        }
      }
    }
  }
}

function groupName(group, groups) {
  const several = new Set(groups.map((one) => one.lang)).size > 1;
  return several ? `${group.language}, ${group.set}` : group.set;
}

function entries(filters) {
  return Object.entries(filters).map(([value, [label]]) => [value, label]);
}

/** Return [index, value] of an indexed column in the order of the values. */
function choices({ values }) {
  return values
    .map((value, index) => [index, value ?? "not known"])
    .sort((a, b) => a[1].localeCompare(b[1]));
}

function options(select, list) {
  select.replaceChildren(
    ...list.map(([value, label]) => make("option", "", label, { value })),
  );
}

function whenIdle(task) {
  if (window.requestIdleCallback) requestIdleCallback(task);
  else setTimeout(task, 5);
}

function number(value) {
  return value.toLocaleString("en");
}

/** Save rows as a CSV file; a cell that a spreadsheet would compute is quoted. */
function saveCsv(name, rows) {
  const cell = (value) => {
    let text = String(value ?? "");
    if (typeof value === "string" && /^[=@+-](?![\d.,]*\d[\d.,]*%?$)/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const text = "\ufeff" + rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  make("a", "", "", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
