// The connections of the port, asked for every second while somebody looks.
const rows = new Map(); // id -> row

export function watch(body) {
  const poll = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch("connections", { cache: "no-store" });
        if (answer.ok) update(body, await answer.json());
      } catch {
        // the server is away; the chat's state says so
      }
    }
    setTimeout(poll, 1000);
  };
  poll();
}

function update(body, list) {
  const present = new Set(list.map((c) => c.id));
  for (const [id, row] of rows) {
    if (!present.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  for (const c of list.toReversed()) {
    let row = rows.get(c.id);
    if (!row) {
      row = document.createElement("tr");
      for (const name of ["time", "remote", "route", "first"]) {
        row.insertCell().className = name;
      }
      rows.set(c.id, row);
      body.prepend(row);
    }
    fill(row, c);
  }
}

function fill(row, c) {
  row.classList.toggle("open", c.open);
  const text = [new Date(c.time).toLocaleTimeString(), c.remote, c.scheme ? `${c.route} (${c.scheme})` : c.route, printable(c.first)];
  text.forEach((t, i) => {
    if (row.cells[i].textContent !== t) row.cells[i].textContent = t;
  });
  row.cells[3].title = c.first.replace(/(..)/g, "$1 ").trim();
}

// printable shows bytes as a programmer would write them.
function printable(hex) {
  let out = "";
  for (let i = 0; i + 1 < hex.length; i += 2) {
    const b = parseInt(hex.slice(i, i + 2), 16);
    if (b === 0x0a) out += "\\n";
    else if (b === 0x0d) out += "\\r";
    else if (b >= 0x20 && b < 0x7f) out += String.fromCharCode(b);
    else out += "\\x" + hex.slice(i, i + 2);
  }
  return out;
}
