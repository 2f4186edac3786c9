// The table of the port's connections.
import { poll } from "./poll.js";

const maxRows = 100;
const columns = ["time", "remote", "route", "first"];
const rows = new Map(); // id -> row

export function watch(body) {
  poll("connections", (list) => update(body, list));
}

// update makes the rows of body those of list, newest on top. It does not touch rows that stay.
function update(body, list) {
  const newest = list.toSorted((a, b) => b.id - a.id).slice(0, maxRows);
  const present = new Set(newest.map((c) => c.id));
  for (const [id, row] of rows) {
    if (present.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  newest.forEach((c, i) => {
    const row = rows.get(c.id) ?? add(c.id);
    fill(row, c);
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null);
  });
}

// add adds a row. Its roles are explicit because display: grid in the stylesheet removes implicit
// ones.
function add(id) {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  for (const name of columns) {
    const cell = row.insertCell();
    cell.className = name;
    cell.setAttribute("role", "cell");
  }
  rows.set(id, row);
  return row;
}

function fill(row, c) {
  const first = c.first ?? "";
  const kind = c.scheme ? `${c.route} (${c.scheme})` : c.route;
  const text = [new Date(c.time).toLocaleTimeString(), c.remote, c.open ? `${kind}, open` : kind, printable(first)];
  text.forEach((t, i) => {
    if (row.cells[i].textContent !== t) row.cells[i].textContent = t;
  });
  row.classList.toggle("open", c.open);
  const hex = first.replace(/..(?=.)/g, "$& ");
  if (row.cells[3].title !== hex) row.cells[3].title = hex;
}

const escapes = { 0x09: "\\t", 0x0a: "\\n", 0x0d: "\\r", 0x5c: "\\\\" };

// printable returns bytes, given in hex, as the text of a string literal.
function printable(hex) {
  let out = "";
  for (let i = 0; i + 1 < hex.length; i += 2) {
    const b = parseInt(hex.slice(i, i + 2), 16);
    if (b in escapes) out += escapes[b];
    else if (b >= 0x20 && b < 0x7f) out += String.fromCharCode(b);
    else out += "\\x" + hex.slice(i, i + 2);
  }
  return out;
}
