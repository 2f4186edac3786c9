// The chat is a WebSocket to the port that served the page. It sends lines and receives JSON: see
// Line in package chat.
import { watch } from "./connections.js";
import { commands } from "./commands.js";
import { log } from "./log.js";
import { panels } from "./panels.js";
import { poll } from "./poll.js";

const firstDelay = 500, lastDelay = 15000; // milliseconds between two tries
const $ = (id) => document.getElementById(id);
const form = $("form"), input = $("input"), send = $("send"), state = $("state"), dot = $("dot");
const lines = log($("log"), $("newer"));

let socket = null;
let delay = firstDelay;

function show(name) {
  state.textContent = name;
  dot.className = name;
  send.disabled = name !== "connected";
}

function connect() {
  show("connecting");
  const url = new URL("./?lines=json", location.href); // a proxy may serve the page below a path
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(url);
  let you = 0;
  socket.onopen = () => {
    delay = firstDelay;
    show("connected");
    askMembers();
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.you) you = message.you;
    else lines.add(message, message.client === you);
  };
  socket.onclose = () => {
    show("disconnected");
    setTimeout(connect, delay * (1 + Math.random())); // not at the same time as other tabs
    delay = Math.min(delay * 2, lastDelay);
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (input.value.trim() === "" || socket.readyState !== WebSocket.OPEN) return; // keep the input
  socket.send(input.value);
  input.value = "";
  lines.toEnd();
});

$("here").textContent = location.host;
commands($("commands"));
const askMembers = poll("members", (n) => ($("members").textContent = n === 0 ? "" : n === 1 ? "only you" : `${n} here`));
watch($("connections"));
panels($("panels"));
connect();
// On a phone the keyboard would cover the page.
if (matchMedia("(pointer: fine)").matches) input.focus();
