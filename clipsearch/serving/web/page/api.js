// How the server is spoken to: JSON, and errors of one line.

/** Something that can't be had, in one line for a person. */
export class Refused extends Error {
  constructor(message, { status = 0, offline = false } = {}) {
    super(message);
    this.status = status; // of HTTP
    this.offline = offline; // the server was not reached
  }
}

/** Return what a GET answers, from its JSON; raises Refused, or AbortError where it was dropped. */
export async function get(path, parameters, signal) {
  const query = parameters?.toString();
  return answered(query ? `${path}?${query}` : path, { signal });
}

/** Return what a POST answers; the body is JSON, or a file as it is. */
export async function post(path, body, signal) {
  const isFile = body instanceof Blob;
  const kind = isFile ? body.type || "application/octet-stream" : "application/json";
  return answered(path, {
    method: "POST",
    headers: { "Content-Type": kind },
    body: isFile ? body : JSON.stringify(body),
    signal,
  });
}

async function answered(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer.", { offline: true });
  }
  let said = null;
  try {
    said = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error; // anything else is no JSON, as of a proxy
  }
  if (response.ok && said !== null) return said;
  const message = said?.error?.message ?? `The server answered with ${response.status}.`;
  throw new Refused(message, { status: response.status });
}
