// A list box that holds elements only for the visible rows, so that 10,000 rows scroll fluently.

const ROW_HEIGHT = 56; // pixels, as in utterances.css
const OVERSCAN = 6; // rows beyond each end of the visible part

class VirtualList {
  /**
   * @param {HTMLElement} box - scrolls; has the role listbox
   * @param {(element: HTMLElement, row: number) => void} fill - writes a row into an element
   * @param {(row: number) => void} onChoose - called when another row is chosen
   */
  constructor(box, fill, onChoose) {
    this.box = box;
    this.area = box.firstElementChild;
    this.fill = fill;
    this.onChoose = onChoose;
    this.rows = [];
    this.chosen = -1; // position in `rows`
    this.shown = new Map(); // position → element
    box.addEventListener("scroll", () => this.#draw());
    box.addEventListener("keydown", (event) => this.#onKey(event));
    this.area.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.choose(Number(option.dataset.position));
    });
    new ResizeObserver(() => this.#draw()).observe(box);
  }

  /** Show these rows from their start, and choose the first one. */
  show(rows) {
    this.rows = rows;
    this.area.style.height = `${rows.length * ROW_HEIGHT}px`;
    for (const element of this.shown.values()) element.remove();
    this.shown.clear();
    this.chosen = -1;
    this.box.scrollTop = 0;
    if (rows.length) this.choose(0);
    else this.box.removeAttribute("aria-activedescendant");
    this.#draw();
  }

  choose(position) {
    const chosen = Math.max(0, Math.min(position, this.rows.length - 1));
    if (!this.rows.length || chosen === this.chosen) return;
    const last = this.shown.get(this.chosen);
    if (last) last.setAttribute("aria-selected", "false");
    this.chosen = chosen;
    const top = chosen * ROW_HEIGHT;
    const bottom = top + ROW_HEIGHT - this.box.clientHeight;
    if (this.box.scrollTop > top) this.box.scrollTop = top;
    else if (this.box.scrollTop < bottom) this.box.scrollTop = bottom;
    this.#draw();
    this.shown.get(chosen)?.setAttribute("aria-selected", "true");
    this.box.setAttribute("aria-activedescendant", `utterance-row-${chosen}`);
    this.onChoose(this.rows[chosen]);
  }

  #onKey(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 1);
    const moves = {
      ArrowDown: this.chosen + 1,
      ArrowUp: this.chosen - 1,
      PageDown: this.chosen + page,
      PageUp: this.chosen - page,
      Home: 0,
      End: this.rows.length - 1,
    };
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.choose(moves[event.key]);
  }

  #draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - OVERSCAN);
    const visible = Math.ceil(this.box.clientHeight / ROW_HEIGHT) + 2 * OVERSCAN;
    const end = Math.min(this.rows.length, first + visible);
    for (const [position, element] of this.shown) {
      if (position >= first && position < end) continue;
      element.remove();
      this.shown.delete(position);
    }
    for (let position = first; position < end; position++) {
      if (!this.shown.has(position)) this.area.append(this.#element(position));
    }
  }

  #element(position) {
    const element = document.createElement("div");
    element.id = `utterance-row-${position}`;
    element.className = "row";
    element.style.top = `${position * ROW_HEIGHT}px`;
    element.dataset.position = position;
    element.setAttribute("role", "option");
    element.setAttribute("aria-selected", String(position === this.chosen));
    element.setAttribute("aria-posinset", position + 1);
    element.setAttribute("aria-setsize", this.rows.length);
    this.fill(element, this.rows[position]);
    this.shown.set(position, element);
    return element;
  }
}
