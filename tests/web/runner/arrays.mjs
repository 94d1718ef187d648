// Arrays of tests between Python, Node and pages: dtype, shape and every number as JSON.
const TYPES = {
  bool: Uint8Array, int8: Int8Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, float16: Float32Array,
  float32: Float32Array,
};

/** Typed arrays by name. */
export async function read(url) {
  const entries = Object.entries(await (await fetch(url)).json());
  return Object.fromEntries(entries.map(([name, { dtype, values }]) => [
    name, TYPES[dtype].from(dtype === 'int64' ? values.map(BigInt) : values),
  ]));
}

/** The largest difference of each output, absolute where numbers are small and relative where they are large. */
export function differences(outputs, expected) {
  return Object.fromEntries(Object.entries(expected).map(([name, wanted]) => {
    const got = outputs[name];
    if (got?.constructor !== wanted.constructor || got.length !== wanted.length) {
      return [name, `${got?.constructor.name} of ${got?.length}`];
    }
    let worst = 0;
    for (let index = 0; index < wanted.length; index += 1) {
      const [number, right] = [Number(got[index]), Number(wanted[index])];
      const difference = Math.abs(number - right) / Math.max(1, Math.abs(right));
      if (!(difference <= worst)) worst = difference;
    }
    return [name, worst];
  }));
}
