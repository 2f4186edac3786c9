// The chat: a WebSocket to the port that served the page.
import { watch } from "./connections.js";
import { commands } from "./commands.js";

const maxLines = 500;
const $ = (id) => document.getElementById(id);
const log = $("log"), form = $("form"), input = $("input"), send = $("send"), state = $("state"), dot = $("dot");

let socket = null;
let delay = 500; // milliseconds until the next try

function show(name) {
  state.textContent = name;
  dot.className = name;
  send.disabled = name !== "connected";
}

function connect() {
  show("connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/`);
  socket.onopen = () => {
    delay = 500;
    show("connected");
  };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") say(event.data);
  };
  socket.onclose = () => {
    show("disconnected");
    setTimeout(connect, delay + Math.random() * delay);
    delay = Math.min(delay * 2, 15000);
  };
}

// say appends a line; what stands in brackets in front is where it came from.
function say(text) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("div");
  line.className = "line";
  const parts = /^\[([^\]]*)\] ?([^]*)$/.exec(text);
  if (parts) {
    const tag = document.createElement("span");
    tag.className = "tag";
    tag.textContent = parts[1];
    line.append(tag);
  }
  line.append(parts ? parts[2] : text);
  log.append(line);
  while (log.childElementCount > maxLines) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (text === "" || socket.readyState !== WebSocket.OPEN) return;
  socket.send(text);
  input.value = "";
});

$("here").textContent = location.host;
commands($("commands"));
watch($("connections"));
connect();
input.focus();
