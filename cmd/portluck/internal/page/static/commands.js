// at tells the server where the page is: a proxy may serve it by another name, or below a path.
export const at = "at=" + encodeURIComponent(new URL("./", location).href);

// How to join the room from elsewhere. The server knows which ways are on, and how it was started.
export async function commands(list) {
  try {
    const answer = await fetch("commands?" + at, { cache: "no-store" });
    if (answer.ok) list.append(...(await answer.json()).map(({ what, command }, i) => item(what, command, `command-${i}`)));
  } catch {
    // the server is away; the chat's state says so
  }
}

// item is a line with a button that copies it.
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

// copied copies the text, or where the page may not do that, leaves it selected. Only https and localhost have a clipboard.
async function copied(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand("copy");
  }
}
