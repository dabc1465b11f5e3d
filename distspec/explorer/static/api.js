// What the server is asked. Addresses are relative: the page's own path holds the token.

async function ask(path, options = {}) {
  const answer = await fetch(`api/${path}`, { cache: "no-store", ...options });
  if (answer.ok) return answer;
  const said = await answer.text();
  let words = said;
  try {
    words = JSON.parse(said).error ?? said;
  } catch {
    /* plain text */
  }
  throw new Error(words.trim() || `the server answered ${answer.status}`);
}

export const json = async (path) => (await ask(path)).json();
export const text = async (path) => (await ask(path)).text();
export const floats = async (path) => new Float32Array(await (await ask(path)).arrayBuffer());
export const rows = async (path) => new Uint32Array(await (await ask(path)).arrayBuffer());

export function send(path, body, method = "POST") {
  const headers = { "content-type": "application/json" };
  return ask(path, { method, headers, body: JSON.stringify(body) });
}
