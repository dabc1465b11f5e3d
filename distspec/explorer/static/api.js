// Requests to the server. Addresses are relative, because the path of the page contains the access token.

async function request(path, options = {}) {
  const response = await fetch(`api/${path}`, { cache: "no-store", ...options });
  if (response.ok) return response;
  const body = await response.text();
  let message = body;
  try {
    message = JSON.parse(body).error ?? body;
  } catch {
    /* the body is plain text */
  }
  throw new Error(message.trim() || `the server responded with status ${response.status}`);
}

export const json = async (path) => (await request(path)).json();
export const text = async (path) => (await request(path)).text();
export const blob = async (path) => (await request(path)).blob();
export const floats = async (path) => new Float32Array(await (await request(path)).arrayBuffer());
export const rows = async (path) => new Uint32Array(await (await request(path)).arrayBuffer());

export function send(path, body, method = "POST") {
  const headers = { "content-type": "application/json" };
  return request(path, { method, headers, body: JSON.stringify(body) });
}
