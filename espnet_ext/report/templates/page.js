// What the page does beside the utterance browser, and its start.

/** Say below a table that it is wider than its place, while it is. */
function hintAtOverflow() {
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const box = target.closest(".scroll");
      box.classList.toggle("overflows", box.scrollWidth > box.clientWidth + 1);
    }
  });
  for (const table of document.querySelectorAll(".scroll table")) {
    observer.observe(table);
    observer.observe(table.closest(".scroll"));
  }
}

/** Mark the link of the section that is read. */
function markCurrentSection() {
  const links = [...document.querySelectorAll("nav.contents a")];
  const targets = links.map((link) => document.getElementById(link.hash.slice(1)));
  let last = -1;
  const update = () => {
    let current = 0;
    targets.forEach((target, n) => {
      if (target.getBoundingClientRect().top < innerHeight * 0.3) current = n;
    });
    links.forEach((link, n) => {
      if (n === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
    if (current === last) return;
    last = current;
    const bar = links[current].closest("nav"); // in a narrow window it scrolls sideways
    const { offsetLeft, offsetWidth } = links[current];
    bar.scrollLeft = offsetLeft - (bar.clientWidth - offsetWidth) / 2;
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      update();
    });
  }, { passive: true });
  update();
}

/** Print folded parts too. */
function unfoldForPrint() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
}

/** Open the folded part that a link leads into. */
function unfoldTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target?.closest("details");
  if (details && !details.open) {
    details.open = true;
    target.scrollIntoView();
  }
}

async function startBrowser() {
  if (!document.getElementById("utterance-data")) return;
  try {
    const browser = new UtteranceBrowser(document.getElementById("browser"), await readGroups());
    for (const button of document.querySelectorAll("button[data-utterance]")) {
      const { lang, set, utterance } = button.dataset;
      button.hidden = false;
      button.addEventListener("click", () => browser.open(lang, set, utterance));
    }
  } catch (error) {
    const problem = document.getElementById("browser-problem");
    problem.textContent = `The utterances cannot be shown in this browser: ${error.message}`;
    problem.hidden = false;
    console.error(error);
  }
  document.getElementById("browser-loading").remove();
}

hintAtOverflow();
markCurrentSection();
unfoldForPrint();
addEventListener("hashchange", unfoldTarget);
unfoldTarget();
await startBrowser();
