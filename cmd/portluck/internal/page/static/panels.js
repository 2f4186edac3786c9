// The panels of the services, which run beside the room.
import { at, item } from "./commands.js";
import { poll } from "./poll.js";

const shown = new Map(); // title -> { facts: Map of name -> dd, list }

export function panels(section) {
  poll("panels?" + at, (list) => {
    section.hidden = list.length === 0;
    for (const panel of list) {
      if (!shown.has(panel.title)) add(section, panel);
      update(shown.get(panel.title), panel.facts ?? []);
    }
  });
}

function add(section, { title, hint, commands }) {
  const article = document.createElement("section");
  const head = document.createElement("h2");
  head.textContent = title;
  const text = document.createElement("p");
  text.className = "hint";
  text.textContent = hint;
  const list = document.createElement("dl");
  const lines = document.createElement("ul");
  lines.className = "commands";
  lines.append(...(commands ?? []).map(({ what, command }, i) => item(what, command, `panel-${shown.size}-${i}`)));
  article.append(head, text, list, lines);
  section.append(article);
  shown.set(title, { facts: new Map(), list });
}

function update({ facts, list }, now) {
  const names = new Set(now.map((f) => f.name));
  for (const [name, [dt, dd]] of facts) {
    if (names.has(name)) continue;
    dt.remove();
    dd.remove();
    facts.delete(name);
  }
  for (const { name, value } of now) {
    if (!facts.has(name)) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name;
      list.append(dt, dd);
      facts.set(name, [dt, dd]);
    }
    const dd = facts.get(name)[1];
    if (dd.textContent !== value) dd.textContent = value;
  }
}
