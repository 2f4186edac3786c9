// The chat: a WebSocket to the port that served the page.
import { watch } from "./connections.js";
import { commands } from "./commands.js";
import { panels } from "./panels.js";

const maxLines = 500;
const firstDelay = 500, lastDelay = 15000; // milliseconds between two tries
const $ = (id) => document.getElementById(id);
const log = $("log"), form = $("form"), input = $("input"), send = $("send"), state = $("state"), dot = $("dot");

let socket = null;
let delay = firstDelay;

function show(name) {
  state.textContent = name;
  dot.className = name;
  send.disabled = name !== "connected";
}

function connect() {
  show("connecting");
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    delay = firstDelay;
    show("connected");
  };
  socket.onmessage = ({ data }) => say(typeof data === "string" ? data : new TextDecoder().decode(data));
  socket.onclose = () => {
    show("disconnected");
    setTimeout(connect, delay * (1 + Math.random())); // apart from the other tabs
    delay = Math.min(delay * 2, lastDelay);
  };
}

// A line of the server's is "[scheme address] text"; an IPv6 address has brackets of its own.
const tagged = /^\[([a-z0-9]+ (?:\[[^\]\s]*\]:\d+|[^[\]\s]+))\] ?([^]*)$/;

function say(text) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const line = document.createElement("div");
  line.className = "line";
  const parts = tagged.exec(text);
  if (parts) {
    const tag = document.createElement("span");
    tag.className = "tag";
    tag.textContent = parts[1];
    line.append(tag, " ");
  }
  line.append(parts ? parts[2] : text);
  log.append(line);
  while (log.childElementCount > maxLines) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value.trim() === "" || socket.readyState !== WebSocket.OPEN) return; // what was typed stays
  socket.send(input.value);
  input.value = "";
  log.scrollTop = log.scrollHeight;
});

$("here").textContent = location.host;
commands($("commands"));
watch($("connections"));
panels($("panels"));
connect();
if (matchMedia("(pointer: fine)").matches) input.focus(); // on a phone the keyboard would cover the page
