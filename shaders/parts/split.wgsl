{# A number of f32 as two of f16: the high part has its first 11 bits, the low part is what is left. Numbers are scaled by a
   power of two, params.scale (bits of f32), so that low parts stay normal f16. What is then beyond the largest f16 becomes
   NaN, which reaches every sum that it has a part in: so a run notices, and is repeated without split operands. #}
fn held_by_halves(x: vec4<f32>) -> vec4<f32> {
  let scaled = x * bitcast<f32>(params.scale);
  // from bits that compilers cannot see through: they refuse a constant that is NaN
  let nan = bitcast<f32>(0x7fc00000u | (u32(params.first) & 0u));
  return select(scaled, vec4<f32>(nan), abs(scaled) > vec4<f32>(65504.0));
}

// by its bits: compilers make nothing of a number less itself as f16 and back
fn high_part(held: vec4<f32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(held) & vec4<u32>(0xffffe000u));
}
