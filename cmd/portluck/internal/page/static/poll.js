const period = 1000, patience = 5000; // milliseconds

// poll asks for the JSON at path every second while somebody looks, and tells show. What it returns asks at once.
export function poll(path, show) {
  let timer = 0;
  const ask = async () => {
    if (document.hidden) return; // visibilitychange goes on
    try {
      const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience) });
      if (answer.ok) show((await answer.json()) ?? []);
    } catch {
      // the server is away; the chat's state says so
    }
    clearTimeout(timer); // one of a poll that began before the page was hidden
    timer = setTimeout(ask, period);
  };
  document.addEventListener("visibilitychange", ask);
  ask();
  return ask;
}
