// A run as a wide table, read column by column.
import { parquetMetadataAsync, parquetRead } from "hyparquet";
import type { FileMetaData } from "hyparquet";
import { byteFile, json } from "./source";
import type { ByteFile } from "./source";

export interface Status {
  name: string;
  meaning: string;
  is_number: boolean;
  bound: string;
  is_bound: boolean;
}

export interface ColumnInfo {
  name: string;
  quantity: string;
  label: string;
  at: Record<string, unknown>;
  interval: boolean;
  varies: boolean;
  unit: string;
  formula: string;
  source: string;
  meaning: string;
}

export interface Album {
  units: string[];
  sets: string[][];
  of: number[];
  cell: number;
  sheet: number;
}

/** A map of numbers over the picture of every sample, on one scale: its ends are quantiles over all of them. */
export interface PictureMap {
  name: string;
  label: string;
  unit: string;
  meaning: string;
  low: number;
  high: number;
}

export interface Overall {
  label: string;
  where: string;
  value: number | null;
  stderr: number | null;
  low: number | null;
  high: number | null;
  n: number;
  status: string;
}

export interface About {
  name: string;
  kind: string;
  status: string;
  finished: number;
  wanted: number;
  models: string[];
  facts: Record<string, string>;
  command: string;
  only: string | null;
  messages: Record<string, string>;
  failed: { unit: string | null; what: string | null; reason: string }[];
  notes: string[];
  statuses: Status[];
  overall: Overall[];
  views: string[];
  frame: { rows: number; keys: { name: string; numeric: boolean }[]; columns: ColumnInfo[]; ofSamples: boolean };
  album: Album | null;
  maps: PictureMap[];
  hasLatents: boolean;
}

/** One column of numbers; `status` is -1 where nothing was measured. Keys with numbers are columns without errors. */
export interface Column {
  name: string;
  label: string;
  unit: string;
  info: ColumnInfo | null;
  value: Float64Array;
  error: Float32Array | null;
  low: Float64Array;
  high: Float64Array;
  status: Int8Array;
}

const REACH = 1.96;

export class Frame {
  readonly keys = new Map<string, unknown[]>();
  private columns = new Map<string, Promise<Column>>();
  private loaded = new Map<string, Column>();

  private constructor(
    readonly run: number,
    readonly about: About,
    private file: ByteFile,
    private metadata: FileMetaData,
  ) {}

  static async open(run: number): Promise<Frame> {
    const [about, file] = await Promise.all([
      json<About>(`runs/${run}/about.json`),
      byteFile(`runs/${run}/frame.parquet`),
    ]);
    const frame = new Frame(run, about, file, await parquetMetadataAsync(file));
    const keys = about.frame.keys;
    const read = await frame.read(keys.map((_, n) => `k${n}`));
    keys.forEach((key, n) => frame.keys.set(key.name, read.get(`k${n}`) ?? []));
    return frame;
  }

  get rows(): number {
    return this.about.frame.rows;
  }

  get ofSamples(): boolean {
    return this.about.frame.ofSamples;
  }

  /** What a row is called: its file, or the values that tell it apart. */
  title(row: number): string {
    const file = this.keys.get("file");
    if (file) return String(file[row]);
    return [...this.keys.values()]
      .map((values) => values[row])
      .filter((value) => value !== null && value !== undefined && value !== "")
      .map((value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : String(value)))
      .join(" · ");
  }

  unit(row: number): string {
    return String(this.keys.get("unit")?.[row] ?? "");
  }

  /** Names of columns with numbers: quantities, then numeric keys. */
  get numeric(): { name: string; label: string }[] {
    const quantities = this.about.frame.columns.map(({ name, label }) => ({ name, label }));
    const keys = this.about.frame.keys.filter((key) => key.numeric).map(({ name }) => ({ name, label: name }));
    return [...quantities, ...keys];
  }

  get categorical(): string[] {
    return this.about.frame.keys
      .filter((key) => !key.numeric && key.name !== "unit" && key.name !== "file")
      .map((key) => key.name);
  }

  has(name: string): boolean {
    return this.numeric.some((column) => column.name === name);
  }

  /** A column that was loaded before; null while it is not. */
  peek(name: string): Column | null {
    return this.loaded.get(name) ?? null;
  }

  column(name: string): Promise<Column> {
    let promise = this.columns.get(name);
    if (!promise) {
      promise = this.load(name).then((column) => {
        this.loaded.set(name, column);
        return column;
      });
      this.columns.set(name, promise);
    }
    return promise;
  }

  private async load(name: string): Promise<Column> {
    const place = this.about.frame.columns.findIndex((column) => column.name === name);
    const info = this.about.frame.columns[place];
    if (!info) return this.key(name);
    const wanted = [`v${place}`, `e${place}`, `s${place}`, ...(info.interval ? [`l${place}`, `h${place}`] : [])];
    const read = await this.read(wanted);
    const value = Float64Array.from(read.get(`v${place}`) as number[], nan);
    const error = Float32Array.from(read.get(`e${place}`) as number[], nan);
    const status = Int8Array.from(read.get(`s${place}`) as number[]);
    const bar = (sign: number) => value.map((v, n) => v + sign * REACH * (error[n] || 0));
    const low = info.interval ? Float64Array.from(read.get(`l${place}`) as number[], nan) : bar(-1);
    const high = info.interval ? Float64Array.from(read.get(`h${place}`) as number[], nan) : bar(1);
    status.forEach((s, n) => {
      if (s >= 0 && !this.about.statuses[s]?.is_number) value[n] = NaN; // no number to rank, filter or draw
    });
    return { name, label: info.label, unit: info.unit, info, value, error, low, high, status };
  }

  private key(name: string): Column {
    const value = Float64Array.from((this.keys.get(name) ?? []) as number[], nan);
    return {
      name,
      label: name,
      unit: "",
      info: null,
      value,
      error: null,
      low: value,
      high: value,
      status: new Int8Array(value.length),
    };
  }

  private async read(columns: string[]): Promise<Map<string, unknown[]>> {
    const read = new Map<string, unknown[]>(columns.map((name) => [name, new Array(this.rows)]));
    if (columns.length === 0 || this.rows === 0) return read;
    await parquetRead({
      file: this.file,
      metadata: this.metadata,
      columns,
      onChunk: ({ columnName, columnData, rowStart }) => {
        const target = read.get(columnName);
        if (!target) return;
        for (let i = 0; i < columnData.length; i++) target[rowStart + i] = (columnData as ArrayLike<unknown>)[i];
      },
    });
    return read;
  }
}

function nan(value: unknown): number {
  return typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : NaN;
}
