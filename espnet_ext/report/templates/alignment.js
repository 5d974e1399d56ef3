// Alignments: of one hypothesis with its reference, and of several texts with one in common.

/** Return the tokens of a text: words or phones if separated, else characters; `<unk>` is one. */
function tokensOf(text, separated) {
  const words = text.split(/\s+/u).filter(Boolean);
  return separated ? words : (words.join(" ").match(/<unk>|./gsu) ?? []);
}

/** Return {kind, reference, hypothesis} per column; [] if the alignment fits other texts. */
function edits(reference, hypothesis, columns) {
  const result = [];
  let i = 0, j = 0;
  for (const kind of columns) {
    result.push({
      kind,
      reference: kind === "i" ? "" : reference[i++],
      hypothesis: kind === "d" ? "" : hypothesis[j++],
    });
  }
  return i === reference.length && j === hypothesis.length ? result : [];
}

/** Return the edits of a system's hypothesis. */
function editsOf(group, system, output, row) {
  const reference = group.reference(output, row);
  const { text, columns } = group.hypotheses[system][output];
  if (reference === null || text[row] === null) return [];
  const separated = group.separated[output];
  return edits(tokensOf(reference, separated), tokensOf(text[row], separated), columns[row]);
}

/** Return edits with the roles of both texts exchanged. */
function exchanged(list) {
  const kinds = { "=": "=", s: "s", d: "i", i: "d" };
  return list.map((edit) => ({
    kind: kinds[edit.kind], reference: edit.hypothesis, hypothesis: edit.reference,
  }));
}

/**
 * Align several texts with one text in the middle.
 *
 * @param {string[]} centre - tokens that all rows are aligned with
 * @param {object[][]} rows - edits of each row, with the centre as reference
 * @returns {{centre: object[], rows: object[][]}} cells {kind, text} of equal number per row;
 *   kind is "" for a cell without a token
 */
function alignRows(centre, rows) {
  const insertions = new Array(centre.length + 1).fill(0); // columns before each centre token
  for (const row of rows) {
    let place = 0, inserted = 0;
    for (const edit of row) {
      if (edit.kind === "i") {
        insertions[place] = Math.max(insertions[place], ++inserted);
      } else {
        place++;
        inserted = 0;
      }
    }
  }
  const none = { kind: "", text: "" };
  const centreCells = [];
  centre.forEach((text, place) => {
    for (let n = 0; n < insertions[place]; n++) centreCells.push(none);
    centreCells.push({ kind: "=", text });
  });
  for (let n = 0; n < insertions[centre.length]; n++) centreCells.push(none);
  const aligned = rows.map((row) => {
    const cells = [];
    let place = 0, inserted = 0;
    const fill = () => {
      for (; inserted < insertions[place]; inserted++) cells.push(none);
    };
    for (const edit of row) {
      if (edit.kind === "i") {
        inserted++;
      } else {
        fill();
        place++;
        inserted = 0;
      }
      cells.push({ kind: edit.kind, text: edit.hypothesis });
    }
    fill();
    return cells;
  });
  return { centre: centreCells, rows: aligned };
}

/**
 * Return the start of each column in seconds, from the starts of a row's tokens.
 *
 * @param {object[]} cells - the row
 * @param {number[]} starts - of its tokens, in hundredths of a second
 */
function columnStarts(cells, starts) {
  let token = 0, last = 0;
  return cells.map((cell) => {
    if (cell.text) last = starts[token++] / 100;
    return last;
  });
}
