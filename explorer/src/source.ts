// Where data comes from: the server that `theodolite explore` starts, a folder on a web host, or one opened by file://.

export interface ByteFile {
  byteLength: number;
  slice(start: number, end?: number): Promise<ArrayBuffer>;
}

const isFile = location.protocol === "file:";
const delivered = new Map<string, ArrayBuffer>();

/** Scripts of an export call this with what they hold: `file://` refuses to fetch, but it loads scripts. */
export function deliver(path: string, base64: string): void {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  delivered.set(path, bytes.buffer);
}

function encoded(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

async function byScript(path: string): Promise<ArrayBuffer> {
  if (!delivered.has(path)) {
    await new Promise<void>((done, fail) => {
      const script = document.createElement("script");
      script.src = `${encoded(path)}.js`;
      script.onload = () => done();
      script.onerror = () => fail(new Error(`${path} is missing in this folder`));
      document.head.append(script);
    });
  }
  const there = delivered.get(path);
  if (!there) throw new Error(`${path} is damaged`);
  return there;
}

async function answered(response: Response, path: string): Promise<Response> {
  if (response.ok) return response;
  let reason = response.statusText;
  try {
    reason = ((await response.json()) as { error?: string }).error ?? reason;
  } catch {
    /* no JSON: the status text stays */
  }
  throw new Error(`${path}: ${reason}`);
}

export async function json<T>(path: string): Promise<T> {
  if (isFile) return JSON.parse(new TextDecoder().decode(await byScript(path))) as T;
  return (await (await answered(await fetch(encoded(path)), path)).json()) as T;
}

/** A file that is read range by range, where whoever serves it can do that; otherwise whole. */
export async function byteFile(path: string): Promise<ByteFile> {
  if (isFile) {
    const whole = await byScript(path);
    return { byteLength: whole.byteLength, slice: async (start, end) => whole.slice(start, end) };
  }
  const tail = await answered(await fetch(encoded(path), { headers: { Range: "bytes=-65536" } }), path);
  const body = await tail.arrayBuffer();
  const total = /\/(\d+)$/.exec(tail.headers.get("content-range") ?? "");
  if (tail.status !== 206 || !total) {
    return { byteLength: body.byteLength, slice: async (start, end) => body.slice(start, end) };
  }
  const size = Number(total[1]);
  const begins = size - body.byteLength;
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (start >= begins) return body.slice(start - begins, end - begins);
      const range = await answered(
        await fetch(encoded(path), { headers: { Range: `bytes=${start}-${end - 1}` } }),
        path,
      );
      return range.arrayBuffer();
    },
  };
}

export function pictureUrl(run: number, unit: string, name: string): string {
  return encoded(`runs/${run}/pictures/${name ? `${unit}.${name}` : unit}.png`);
}

export function mapUrl(run: number, map: number, row: number): string {
  return `runs/${run}/maps/${map}/${row}.png`;
}

export function sheetUrl(run: number, sheet: number): string {
  return `runs/${run}/sheet-${sheet}.jpg`;
}

/** Ask the model of the live panel; the one request that is no reading. */
export async function ask<T>(request: object): Promise<T> {
  const response = await fetch("live", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
  return (await (await answered(response, "the model")).json()) as T;
}

export function floats(base64: string): Float32Array {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}
