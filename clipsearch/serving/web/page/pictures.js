// Pictures to search by that are no photos of the library. Each is sent once, to be embedded; what
// comes back and a small preview are kept in this browser alone, under the picture's SHA-256.

import { get, post, Refused } from "./api.js";

const STORE = "pictures";
const PREVIEW = 512; // pixels of the longer side
const MOST = 200; // pictures kept
let opened = null;
let library = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("clipsearch", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function inStore(mode, act) {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE);
  return new Promise((resolve, reject) => {
    const request = act(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// A browser may refuse to keep anything, as in a private window: then it lasts as long as the page.
const kept = new Map();

async function record(key) {
  if (!kept.has(key)) {
    const found = await inStore("readonly", (store) => store.get(key)).catch(() => undefined);
    if (found) kept.set(key, found);
  }
  return kept.get(key);
}

async function keep(one) {
  kept.set(one.key, one);
  await inStore("readwrite", (store) => store.put(one)).catch(() => undefined);
  await forgetOldest().catch(() => undefined);
}

async function forgetOldest() {
  const all = await inStore("readonly", (store) => store.getAll());
  const oldest = all.sort((one, other) => other.when - one.when).slice(MOST);
  for (const one of oldest) await inStore("readwrite", (store) => store.delete(one.key));
}

/** Send a picture to be embedded, keep what comes back, and return its key. */
export async function addPicture(file, signal) {
  const key = await keyOf(file);
  if (!(await record(key))) {
    const [embedding, preview] = await Promise.all([embed(file, signal), previewOf(file)]);
    const model = await modelName();
    await keep({ key, name: file.name ?? "", preview, embedding, model, when: Date.now() });
  }
  return key;
}

/** Return {name, preview} of a picture, the preview a Blob or null; null if this browser has none. */
export async function storedPicture(key) {
  return (await record(key)) ?? null;
}

/** Return a picture's embedding for the model of this library; raises Refused if it isn't here. */
export async function storedEmbedding(key) {
  const one = await record(key);
  if (!one) throw new Refused("The picture of this address is not in this browser.");
  const model = await modelName();
  if (one.model !== model) {
    if (!one.preview) throw new Refused("The library has another model now: add the picture again.");
    await keep({ ...one, model, embedding: await embed(one.preview) });
  }
  return (await record(key)).embedding;
}

async function embed(picture, signal) {
  const said = await post("/api/embed?format=base64", picture, signal);
  return said.embeddings;
}

async function modelName() {
  library ??= get("/api/library").catch(() => {
    library = null;
    return {};
  });
  return (await library).model?.identity?.fingerprint ?? (await library).model?.id ?? "";
}

/** Forget which model the library has: it may have another since. */
export function libraryChanged() {
  library = null;
}

async function keyOf(file) {
  // Without TLS, and not on this machine, a browser has no crypto.subtle: any name does.
  const digest = crypto.subtle
    ? await crypto.subtle.digest("SHA-256", await file.arrayBuffer())
    : crypto.getRandomValues(new Uint8Array(32));
  return Array.from(new Uint8Array(digest), (one) => one.toString(16).padStart(2, "0")).join("");
}

// Null where the browser can't decode it; the server may.
async function previewOf(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, PREVIEW / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
  } catch {
    return null;
  }
}
