// The lines of the room. The log scrolls to the newest, unless the reader has scrolled up.
const maxLines = 500;
const maxUnread = 4 * maxLines; // while the reader has scrolled up
const near = 40; // pixels from the end that count as the end

export function log(box, newer) {
  const keys = new Set(); // of the lines shown, as a new connection gets the history again
  let follows = true;
  let last = null; // the newest line
  let shape = ""; // size of the box when it was last at its end or scrolled

  const shapeNow = () => `${box.clientWidth} ${box.clientHeight} ${box.scrollHeight}`;
  const toEnd = () => {
    follows = true;
    newer.hidden = true;
    box.scrollTop = box.scrollHeight;
    shape = shapeNow();
  };
  box.addEventListener("scroll", () => {
    // If the size of the box has changed, the browser has scrolled it, not the reader.
    const moved = shape !== shapeNow();
    shape = shapeNow();
    if (follows && moved) return toEnd();
    follows = box.scrollHeight - box.scrollTop - box.clientHeight < near;
    if (follows) newer.hidden = true;
  });
  newer.addEventListener("click", () => {
    toEnd();
    box.focus();
  });
  new ResizeObserver(() => follows && toEnd()).observe(box);

  const add = (line, own) => {
    if (keys.has(line.key)) return;
    keys.add(line.key);
    const node = element(line, own);
    node.dataset.key = line.key;
    node.classList.toggle("more", last !== null && sameSpeaker(last, line));
    last = line;
    box.append(node);
    while (box.childElementCount > (follows ? maxLines : maxUnread)) {
      keys.delete(box.firstElementChild.dataset.key);
      box.firstElementChild.remove();
      box.firstElementChild.classList.remove("more"); // the first line names its author
    }
    if (follows) toEnd();
    else newer.hidden = false;
  };
  return { add, toEnd };
}

const together = 60000; // milliseconds within which lines of one author share a heading

function sameSpeaker(a, b) {
  return a.from !== undefined && a.scheme === b.scheme && a.from === b.from && a.server === b.server &&
    new Date(b.time) - new Date(a.time) < together;
}

// element returns the element of a line: its author, server and time, and the text.
function element({ scheme, from, server, time, text }, own) {
  const line = document.createElement("div");
  line.className = own ? "line own" : "line";
  const meta = document.createElement("div");
  meta.className = "meta";
  if (from) meta.append(part("span", "tag", `${scheme} ${from}`), " ");
  if (own) meta.append(part("span", "you", "you"), " ");
  if (server) {
    const at = part("span", "server", `at ${server.slice(0, 8)}`);
    at.title = `the server ${server} of the mesh`;
    meta.append(at, " ");
  }
  const when = part("time", "", new Date(time).toLocaleTimeString());
  when.dateTime = time;
  meta.append(when, " ");
  line.title = new Date(time).toLocaleString();
  const said = part("div", "text", text);
  said.dir = "auto"; // right to left if the text begins so
  line.append(meta, said);
  return line;
}

function part(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}
