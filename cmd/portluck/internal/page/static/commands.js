// How to join the room from elsewhere, with the address of this page.
export function commands(list) {
  const port = location.port || (location.protocol === "https:" ? "443" : "80");
  const name = location.hostname.replace(/^\[|\]$/g, "");
  const plain = `${location.hostname}:${port}`;
  const all = [
    ["One line by HTTP", `curl -d hello http://${plain}/`],
    ["Both ways by HTTP", `curl -sN -T - http://${plain}/`],
    ["Raw TCP", `nc ${name} ${port}`],
    ["Raw TLS", `openssl s_client -quiet -connect ${plain}`],
    ["WebSocket", `portluck chat ws://${plain}/`],
    ["WebSocket over TLS", `portluck chat wss://${plain}/`],
  ].map(([what, command], i) => item(what, command, `command-${i}`));
  list.append(...all);
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
