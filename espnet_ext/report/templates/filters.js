// The filters of the utterance browser: what they choose among, and which utterances they keep.

const ERROR_FILTERS = {
  "": ["all", () => true],
  wrong: ["with errors", (errors) => errors > 0],
  right: ["without errors", (errors, flags) => errors === 0 && flags & SCORED],
  substitution: ["substitutions", (_, flags) => flags & SUBSTITUTION],
  deletion: ["deletions", (_, flags) => flags & DELETION],
  insertion: ["insertions", (_, flags) => flags & INSERTION],
  empty: ["empty hypothesis", (_, flags) => flags & EMPTY],
  unscored: ["not scored", (_, flags) => !(flags & SCORED)],
};
const DISTANCES = {
  "": ["all", () => true],
  same: ["0", (value) => value === 0],
  "1-3": ["1–3", (value) => value >= 1 && value <= 3],
  "4-10": ["4–10", (value) => value >= 4 && value <= 10],
  ">=11": ["≥ 11", (value) => value >= 11],
  unknown: ["not known", (value) => value === null],
};
const SORTS = {
  "": "test set order",
  errors: "most errors",
  rate: "highest error rate",
  lowest: "lowest error rate",
  spread: "systems differ most",
  distance: "largest divergence",
};

/**
 * Return the rows of a group that the filters keep, in their order.
 *
 * @param {Group} group
 * @param {object} chosen - values of the controls: text, output, system, errors, l1, speaker,
 *   distance and sort
 */
function chooseRows(group, chosen) {
  const { errors, tokens, flags } = group.counts(chosen.system, chosen.output);
  const keepsErrors = ERROR_FILTERS[chosen.errors][1];
  const keepsDistance = DISTANCES[chosen.distance][1];
  const l1 = chosen.l1 === "" ? -1 : Number(chosen.l1);
  const speaker = chosen.speaker === "" ? -1 : Number(chosen.speaker);
  const { words, confusions } = parseSearch(chosen.text);
  const rows = [];
  for (let row = 0; row < group.size; row++) {
    if (l1 >= 0 && group.l1.index[row] !== l1) continue;
    if (speaker >= 0 && group.speaker.index[row] !== speaker) continue;
    if (!keepsDistance(group.distance[row]) || !keepsErrors(errors[row], flags[row])) continue;
    if (words.length && !words.every((word) => group.searchText(row).includes(word))) continue;
    if (confusions.length) {
      const found = group.confusions(chosen.system, chosen.output, row);
      if (!confusions.every((confusion) => found.includes(confusion))) continue;
    }
    rows.push(row);
  }
  const key = sortKey(group, chosen, errors, tokens);
  if (key) {
    const keys = new Float64Array(group.size);
    for (const row of rows) keys[row] = key(row);
    rows.sort((a, b) => keys[b] - keys[a] || a - b);
  }
  return rows;
}

/** Return the words of a search, and its confusions such as "ah→ih" or "ah->ih". */
function parseSearch(text) {
  const terms = searchForm(text).replaceAll("->", "→").split(/\s+/u).filter(Boolean);
  return {
    words: terms.filter((term) => !term.includes("→")),
    // "ah→" has any recognised token, "→ih" any reference token
    confusions: terms
      .filter((term) => term.includes("→") && term !== "→")
      .map((term) => (term.startsWith("→") ? "" : "\n") + term + (term.endsWith("→") ? "" : "\n")),
  };
}

/** Return the function of a row that rows are sorted by, highest first; null for no sorting. */
function sortKey(group, { sort, output }, errors, tokens) {
  const rate = (row) => (tokens[row] ? errors[row] / tokens[row] : errors[row] ? Infinity : 0);
  if (sort === "errors") return (row) => errors[row];
  if (sort === "rate") return rate;
  if (sort === "lowest") return (row) => -rate(row);
  if (sort === "distance") return (row) => group.distance[row] ?? -1;
  if (sort !== "spread") return null;
  const counts = group.systemsWith(output).map((system) => group.counts(system, output));
  return (row) => {
    const known = counts.filter(({ flags }) => flags[row] & SCORED);
    const values = known.map((count) => count.errors[row]);
    return values.length ? Math.max(...values) - Math.min(...values) : -1;
  };
}
