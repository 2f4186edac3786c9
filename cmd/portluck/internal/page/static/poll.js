const period = 1000, patience = 5000; // milliseconds

// poll requests the JSON at path every second while the page is visible, and passes it to show. It
// returns a function that makes a request at once.
export function poll(path, show) {
  let timer = 0;
  const ask = async () => {
    if (document.hidden) return; // visibilitychange will ask again
    try {
      const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (answer.ok) show((await answer.json()) ?? []);
    } catch {
      // The server cannot be reached; the state of the chat says so.
    }
    clearTimeout(timer); // of a request that began before the page was hidden
    timer = setTimeout(ask, period);
  };
  document.addEventListener("visibilitychange", ask);
  ask();
  return ask;
}
