// at tells the server the URL of the page: a proxy may serve it with another host or below a path.
export const at = "at=" + encodeURIComponent(new URL("./", location).href);

// commands shows how other clients join the room. The server knows which protocols are on and how
// it was started.
export async function commands(list) {
  try {
    const answer = await fetch("commands?" + at, { cache: "no-store" });
    if (answer.ok) list.append(...(await answer.json()).map(({ what, command }, i) => item(what, command, `command-${i}`)));
  } catch {
    // The server cannot be reached; the state of the chat says so.
  }
}

// item returns a command with a button that copies it.
export function item(what, command, id) {
  const li = document.createElement("li");
  const label = document.createElement("span");
  label.className = "what";
  label.textContent = what;
  const code = document.createElement("code");
  code.id = id;
  code.textContent = command;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-describedby", id);
  let timer = 0;
  button.addEventListener("click", async () => {
    button.textContent = (await copied(command, code)) ? "Copied" : "Selected";
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  li.append(label, code, button);
  return li;
}

// copied copies text. Only pages on https and localhost have a clipboard; elsewhere it selects
// node, which shows the text, and tries the older way.
async function copied(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand("copy");
  }
}
